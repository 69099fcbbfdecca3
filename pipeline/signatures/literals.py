"""The required literal of a detection: a set of byte strings of which every matching row contains at least one.

The scan of the raw block looks for these alone; the whole rule is verified on the rows they hit. A literal must not
contain what JSON, HTML or /dev/kmsg may escape, nor anything outside ASCII: the raw bytes are then not the message. Nor may it
stand in an everyday line of a format (`udp` in CoreDNS's query log): then every such line would be parsed for the rule.
"""

import re
import re._constants as sre
import re._parser as sre_parser
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.signatures.detection import All, Not, Test, Tree, fixed_runs

MINIMUM = 3
_ESCAPED = re.compile(r"""["\\/<>&'\x00-\x1f\x7f-\U0010ffff]+""")
_RUST_ONLY = re.compile(r"\[\[|&&|--|~~|\\[pPxz]|\\b\{")
"""Syntax that the two engines read differently: nested classes, set operations, Unicode classes, `\\b{start}`."""

Literals = frozenset[str]
_Item = tuple[object, Any]
"""One step of a parsed regex: an operator and what it applies to, of a shape of its own for each operator."""


def required(tree: Tree, verbatim: Callable[[str], bool], everyday: str = "") -> Literals | None:
    """The literals of `tree`, lower-case, or None where some matching row may contain none.

    `verbatim` tells whether a column's value stands letter by letter in the raw text; `everyday` are lines (lower-case) of
    which no literal may be a part.
    """
    if isinstance(tree, Test):
        return _of_test(tree, everyday) if verbatim(tree.field) else None
    if isinstance(tree, Not):
        return None
    sets = [required(child, verbatim, everyday) for child in tree.children]
    if isinstance(tree, All):
        usable = [found for found in sets if found]
        return max(usable, key=_quality) if usable else None
    if not sets or any(found is None for found in sets):
        return None
    return frozenset().union(*(found for found in sets if found))


def _quality(literals: Literals) -> tuple[int, int, list[str]]:
    """Longer is rarer; fewer is cheaper; the rest only makes the choice stable."""
    return min(len(text) for text in literals), -len(literals), sorted(literals)


def _of_test(test: Test, everyday: str) -> Literals | None:
    if test.kind == "re":
        return of_regex(str(test.value), everyday)
    if test.kind not in ("eq", "contains", "startswith", "endswith") or not isinstance(test.value, str):
        return None
    return _best(fixed_runs(test.value), everyday)


def _best(runs: Iterable[str], everyday: str) -> Literals | None:
    pieces = [piece.lower() for run in runs for piece in _ESCAPED.split(run)]
    best = max((piece for piece in pieces if piece not in everyday), key=len, default="")
    return frozenset({best}) if len(best) >= MINIMUM else None


def of_regex(pattern: str, everyday: str = "") -> Literals | None:
    """The literals that every match of a Rust regex contains; None where none can be derived.

    Read by the standard library's parser (rules are compiled once): what it cannot read has no derivable literal.
    """
    if _RUST_ONLY.search(pattern):
        return None
    try:
        parsed = sre_parser.parse(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    return _of_sequence(list(parsed), everyday)


def _of_sequence(items: Sequence[_Item], everyday: str) -> Literals | None:
    runs: list[str] = [""]
    found: list[Literals] = []
    for item in items:
        operator, argument = item
        if operator is sre.LITERAL:
            runs[-1] += chr(argument)
            continue
        if operator is sre.AT:
            continue
        inner = _of_item(item, everyday)
        if inner:
            found.append(inner)
        runs.append("")
    own = _best(runs, everyday)
    if own:
        found.append(own)
    return max(found, key=_quality) if found else None


def _of_item(item: _Item, everyday: str) -> Literals | None:
    operator, argument = item
    if operator is sre.SUBPATTERN:
        return _of_sequence(list(argument[3]), everyday)
    if operator in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT) and argument[0] >= 1:
        return _of_sequence(list(argument[2]), everyday)
    if operator is sre.BRANCH:
        branches = [_of_sequence(list(branch), everyday) for branch in argument[1]]
        if all(branches):
            return frozenset().union(*(branch for branch in branches if branch))
    return None
