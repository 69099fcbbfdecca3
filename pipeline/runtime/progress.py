"""How far a source was read, noted in the log beside the rows it gave: one append holds both, so a kill leaves both or neither.

A note says what has changed since the note before, for a source may follow thousands of files. Notes are batches of a stream of
their own, which no engine sees.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.contracts.source import Position
from pipeline.model.stream import RawBatch, Stream

STREAM = Stream("headwater#progress")
"""The stream of the notes."""
_NEW = object()


@dataclass(frozen=True, slots=True)
class Note:
    """What has changed in the position of a source, known by its name and type. Each change is a path of keys, and the value that
    stands there now, or none where nothing does. `anew`: nothing that was noted before counts any more.
    """

    source: str
    kind: str
    anew: bool
    changes: list[list[Any]]

    def batch(self) -> RawBatch:
        """As the log keeps it."""
        said = [self.source, self.kind, self.anew, self.changes]
        return RawBatch(STREAM, json.dumps(said, separators=(",", ":")).encode() + b"\n")

    def apply(self, position: dict[str, Any]) -> None:
        """Change a position, whose maps must be its own (`copied`)."""
        if self.anew:
            position.clear()
        for path, *value in self.changes:
            *above, last = path
            place = position
            for key in above:
                place = place.setdefault(key, {})  # the log may have lost a note
            if value:
                place[last] = value[0]
            else:
                place.pop(last, None)


def note(source: str, kind: str, before: Position | None, after: Position) -> Note:
    """The note that leads from one position to another; from None, to the whole of it."""
    return Note(source, kind, before is None, list(_changes(before or {}, after, [])))


def read(batch: RawBatch) -> Note:
    """The note that a batch of `STREAM` is."""
    return Note(*json.loads(batch.data))


def copied(position: Position) -> dict[str, Any]:
    """A position whose maps are its own."""
    return {key: copied(value) if isinstance(value, Mapping) else value for key, value in position.items()}


def _changes(before: Position, after: Position, path: list[str]) -> Iterator[list[Any]]:
    for key in before.keys() - after.keys():
        yield [[*path, key]]
    for key, value in after.items():
        known = before.get(key, _NEW)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            yield from _changes(known, value, [*path, key])
        elif value is not known and value != known:
            yield [[*path, key], value]
