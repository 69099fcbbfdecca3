"""YAML documents with positions: plain Python values, and for every path in them the line and column where it stands; and the
forms that values have in them (durations).

The node graph is walked here instead of loading into ruamel's round-trip types, since those report only the first
duplicate key and make pydantic's error paths hard to map back.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.errors import Problem

Where = tuple[int, int]
Loc = tuple[str | int, ...]
MAX_DEPTH = 40
BROKEN = "broken YAML"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MICROSECONDS = 1_000_000


def duration(value: object) -> int:
    """Microseconds of `90s`, `5m`, `1h`, `2d`, `1w`: one number and one lower-case unit, as Sigma writes it."""
    match = re.fullmatch(r"(\d+)([a-zA-Z]+)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write one number and one unit of s, m, h, d, w, such as 90s")
    number, unit = match.groups()
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is not known; use s, m, h, d or w (Sigma's M and y are refused: no fixed length)")
    return int(number) * UNITS[unit] * MICROSECONDS


@dataclass(slots=True)
class Document:
    """One YAML document: its value and where each part of it stands (line and column from 1)."""

    path: Path
    value: Any
    positions: dict[Loc, Where] = field(default_factory=dict)

    def where(self, loc: Loc) -> Where:
        """The position of `loc`, or of the longest part of it that exists (pydantic adds union tags and indexes)."""
        known: Loc = ()
        for part in loc:
            if (*known, part) in self.positions:
                known = (*known, part)
        return self.positions.get(known, (1, 1))

    def problem(self, loc: Loc, what: str, hint: str = "", *, warning: bool = False) -> Problem:
        """A problem at `loc`."""
        line, column = self.where(loc)
        return Problem(self.path, line, column, what, hint, warning)


class _Reader:
    """Builds one document's value from its node graph, collecting duplicate keys."""

    def __init__(self, path: Path, constructor: SafeConstructor) -> None:
        self.document = Document(path, None)
        self.problems: list[Problem] = []
        self._constructor = constructor

    def read(self, node: Node, loc: Loc = ()) -> Any:
        self.document.positions.setdefault(loc, (node.start_mark.line + 1, node.start_mark.column + 1))
        if len(loc) > MAX_DEPTH:
            self.problems.append(self.document.problem(loc, "nested too deep", "an alias may refer to itself"))
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return [self.read(child, (*loc, index)) for index, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, child in node.value:
            key = str(key_node.value) if isinstance(key_node, ScalarNode) else "?"
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in value:
                first = self.document.positions[(*loc, key)][0]
                self.problems.append(
                    Problem(self.document.path, *place, f"duplicate key '{key}'", f"it stands in line {first} already")
                )
                continue
            self.document.positions[(*loc, key)] = place
            value[key] = self.read(child, (*loc, key))
        return value

    def _scalar(self, node: Node) -> Any:
        # Times and binary stay text: a rule never means them, and a bare date is one of Sigma's metadata.
        if (node.tag or "").endswith((":timestamp", ":binary")):
            return node.value
        if isinstance(node, ScalarNode) and node.style == ">":  # ruamel marks where lines were joined, to write them so again
            node.value = node.value.replace("\a", "")
        return self._constructor.construct_object(node)


def read(path: Path) -> tuple[list[Document], list[Problem]]:
    """All documents of a file, and what is wrong with it as YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(path, 1, 1, f"cannot be read: {error}", "make it a readable UTF-8 file")]
    return parse(path, text)


def parse(path: Path, text: str) -> tuple[list[Document], list[Problem]]:
    """As `read`, on text already at hand."""
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for node in _compose(text):
            reader = _Reader(path, SafeConstructor(loader=YAML(typ="safe", pure=True)))
            reader.document.value = reader.read(node)
            problems.extend(reader.problems)
            documents.append(reader.document)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problems.append(Problem(path, line, column, f"{BROKEN}: {error.problem}", "mend the indentation or quoting"))
    except (YAMLError, ValueError, RecursionError) as error:
        problems.append(Problem(path, 1, 1, f"{BROKEN}: {' '.join(str(error).split())}"))
    return documents, problems


def _compose(text: str) -> Iterator[Node]:
    yaml = YAML(typ="rt", pure=True)
    for node in yaml.compose_all(text):
        if node is not None and node.value != "":  # nothing stands behind a separator
            yield node
