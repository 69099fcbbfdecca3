"""Files and functions stay within the budget of CONTRIBUTING.md; ruff measures neither file length nor nesting."""

import ast
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES = 500
FILE_LINES_MEDIAN = 150
BODY_LINES = 60
BODY_LINES_P95 = 40
BODY_LINES_MEDIAN = 10
NESTING = 3

type_of_function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def sources(root: Path, *folders: str) -> list[Path]:
    """All Python files below the folders."""
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def functions(paths: list[Path]) -> Iterator[tuple[str, type_of_function]]:
    """Every function and method, with its place."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, type_of_function):
                yield f"{path}:{node.lineno} {node.name}", node


def body_lines(function: type_of_function) -> int:
    """Lines from the first statement behind the docstring to the last."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    first = function.body[1 if documented else 0]
    return (function.end_lineno or first.lineno) - first.lineno + 1


def nesting(node: ast.AST) -> int:
    """How deep blocks stand in blocks; an `elif` is as deep as its `if`, and a function within counts for itself."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, type_of_function | ast.Lambda):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def test_no_file_is_too_long(root: Path) -> None:
    """A file that would be longer has two purposes."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(root, "tests", ".ci")}
    ours = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(root, "pipeline", "connectors")}
    assert not {path: lines for path, lines in (lengths | ours).items() if lines > FILE_LINES}
    assert statistics.median(ours.values()) <= FILE_LINES_MEDIAN


def test_no_function_is_too_long(root: Path) -> None:
    """No body is above the hard limit."""
    every = functions(sources(root, "pipeline", "connectors", "tests", ".ci"))
    assert not {name: lines for name, function in every if (lines := body_lines(function)) > BODY_LINES}


def test_functions_are_mostly_short(root: Path) -> None:
    """The median and the 95th percentile of the bodies of the product."""
    lengths = sorted(body_lines(function) for _, function in functions(sources(root, "pipeline", "connectors")))
    assert statistics.median(lengths) <= BODY_LINES_MEDIAN
    assert lengths[math.ceil(0.95 * len(lengths)) - 1] <= BODY_LINES_P95


def test_blocks_are_not_nested_deeply(root: Path) -> None:
    """Deeper nesting is a function that has not been named yet."""
    every = functions(sources(root, "pipeline", "connectors", "tests", ".ci"))
    assert not {name: depth for name, function in every if (depth := nesting(function)) > NESTING}


@pytest.mark.parametrize(
    ("code", "depth"),
    [
        ("def f():\n return 1", 0),
        ("def f():\n if a:\n  return 1\n elif b:\n  return 2\n elif c:\n  return 3", 1),
        ("def f():\n for a in b:\n  with c:\n   try:\n    if d:\n     e()\n   finally:\n    g()", 4),
        ("def f():\n if a:\n  return 1\n else:\n  if b:\n   return 2\n  c()", 2),
        ("def f():\n if a:\n  def g():\n   if b:\n    return 1", 1),
    ],
)
def test_nesting_is_measured(code: str, depth: int) -> None:
    """The measure itself, on functions that can be counted by hand."""
    assert nesting(ast.parse(code).body[0]) == depth
