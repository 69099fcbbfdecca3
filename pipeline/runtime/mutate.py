"""Mutation testing of signatures: which numbers and clauses could be changed without any case noticing.

Every number is halved and doubled, every clause is dropped, one at a time; the cases of the signature (and of those that share
its blocks) are run in order against each mutant. A mutant that all cases accept has survived: a case is missing.
"""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from pipeline import documents
from pipeline.documents import UNITS
from pipeline.model.vocabulary import Vocabulary
from pipeline.runtime import cases
from pipeline.signatures import load

Path_ = tuple[str | int, ...]
_NUMBERS = frozenset({"correlation", "confidence", "supports", "contradicts", "skew", "explains", "alert"})
_CLAUSES = frozenset({"detection", "supports", "contradicts", "explains", "correlation"})
_LISTS = frozenset({"effects", "absent", "supports", "contradicts", "explains", "rules"})
_DURATION = re.compile(r"^(\d+)([a-z])$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed rule file: where, what was changed, and whether any case noticed."""

    line: int
    change: str
    noticed: bool


def run(folder: Path, paths: Sequence[Path], vocabulary: Vocabulary) -> Iterator[Mutant]:
    """The mutants of the signature in a folder, tried with all rule files `paths`."""
    file = folder / load.RULE_FILE
    parsed, _ = documents.read(file)
    own = cases.read(folder / "cases.yaml")
    for index, change, where, mutated in _mutants(parsed):
        line = parsed[index].where(where)[0]
        yield Mutant(line, change, _noticed(mutated, folder.name, file, paths, own, vocabulary))


def _noticed(
    documents: Sequence[Any],
    slug: str,
    file: Path,
    paths: Sequence[Path],
    own: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
) -> bool:
    """Whether the mutant does not load, or some case fails with it."""
    with TemporaryDirectory() as scratch:
        changed = Path(scratch) / slug / load.RULE_FILE
        changed.parent.mkdir()
        with changed.open("w", encoding="utf-8") as out:
            YAML(typ="safe", pure=True).dump_all(documents, out)
        ruleset, _ = load.build([changed if path == file else path for path in paths], vocabulary)
    if ruleset is None:
        return True
    return any(result.failures for result in cases.run(own, slug, ruleset, ways=("in order",)))


def _mutants(parsed: Sequence[documents.Document]) -> Iterator[tuple[int, str, Path_, list[Any]]]:
    for index, doc in enumerate(parsed):
        for where, value in _places(doc.value, ()):
            for change, new in _changes(where, value):
                documents = [copy.deepcopy(other.value) for other in parsed]
                _put(documents[index], where, new)
                yield index, f"{'.'.join(str(part) for part in where)}: {change}", where, documents


def _places(value: Any, where: Path_) -> Iterator[tuple[Path_, Any]]:
    """Every part of a document, outermost first."""
    if where:
        yield where, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _places(child, (*where, key))


_DROP = object()


def _changes(where: Path_, value: Any) -> Iterator[tuple[str, Any]]:
    top = where[0]
    if top in _NUMBERS:
        yield from _moved(value)
    if top in _CLAUSES and _is_clause(where, value):
        yield "dropped", _DROP


def _moved(value: Any) -> Iterator[tuple[str, Any]]:
    """A number or duration, halved and doubled."""
    if isinstance(value, str) and (match := _DURATION.match(value)) and match[2] in UNITS:
        seconds = int(match[1]) * UNITS[match[2]]
        for duration in dict.fromkeys((max(1, seconds // 2), seconds * 2)):
            yield f"{value} -> {duration}s", f"{duration}s"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        halved = value // 2 if isinstance(value, int) else round(value / 2, 4)
        doubled = value * 2 if value * 2 <= 1 or isinstance(value, int) else round((1 + value) / 2, 4)
        for moved in dict.fromkeys((halved, doubled)):
            if moved != value:
                yield f"{value} -> {moved}", moved


def _is_clause(where: Path_, value: Any) -> bool:
    """A field or one of its values in a detection, or an entry of a list of clauses."""
    if where[0] == "detection":
        inside = len(where) > 2 or (len(where) == 2 and where[1] != "condition")  # noqa: PLR2004 (detection, search, field)
        return inside and where[1] != "condition"
    return isinstance(where[-1], int) and len(where) > 1 and where[-2] in _LISTS


def _put(value: Any, where: Path_, new: Any) -> None:
    for part in where[:-1]:
        value = value[part]
    if new is _DROP:
        del value[where[-1]]
    else:
        value[where[-1]] = new
