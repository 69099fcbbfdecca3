"""The layers of the code hold, and the guard that says so is awake.

The contracts stand in pyproject.toml. Each break below is written into a copy of the tree and must be reported, so that
a contract that has come to match nothing does not pass for one that is kept.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BREAKS = {
    "the engine imports a sink": ("engine/broken.py", "connectors.sinks.one", "never imports a connector"),
    "the model imports the engine": ("model/broken.py", "pipeline.engine", "is layered"),
    "the runtime imports a client": ("runtime/broken.py", "kafka", "never touches a client library"),
    "a module that nobody placed": ("helpers.py", "json", "is layered"),
    "a format imports another": ("parsers/formats/one.py", "pipeline.parsers.formats.two", "parsers are unaware"),
    "a sink imports another": ("../connectors/sinks/three.py", "connectors.sinks.one", "components are unaware"),
    "a sink imports the engine": ("../connectors/sinks/three.py", "pipeline.engine", "connectors see only"),
}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree, with that tree's packages and not the installed ones."""
    script = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    command = [sys.executable, "-I", "-c", script]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    """A copy of the code with two components of each kind, so that no contract is without a subject."""
    for package in ("pipeline", "connectors"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    for folder in ("pipeline/parsers/formats", "connectors/sinks"):
        for name in ("one.py", "two.py"):
            (tmp_path / folder / name).write_text('"""A component."""\n')
    return tmp_path


def test_contracts_are_kept(root: Path) -> None:
    """No module imports against the layers."""
    linted = lint_imports(root)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_is_reported(tree: Path, name: str) -> None:
    """Each kind of forbidden import fails the contract that forbids it."""
    module, imported, contract = BREAKS[name]
    (tree / "pipeline" / module).write_text(f'"""Breaks a contract."""\n\nimport {imported}\n')
    linted = lint_imports(tree)
    broken = [line for line in linted.stdout.splitlines() if line.endswith("BROKEN")]
    assert linted.returncode == 1
    assert [line for line in broken if contract in line], linted.stdout + linted.stderr
