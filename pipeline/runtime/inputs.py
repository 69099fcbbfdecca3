"""The ways in: sources that are their own log, and the log for what cannot be read twice.

One `Input` a source. What a source gives that is not rereadable (or that shall be kept) goes into the log first, and comes out of
it like out of any other source; so there is one kind of position, and one way for every row. What stands in the log behind the
last checkpoint is not taken in twice, though its source may give it again.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts.source import Position, Source, SourceStatus, Trouble
from pipeline.contracts.transport import Transport, TransportStatus
from pipeline.errors import HeadwaterError, SourceError, TransportError
from pipeline.model import linetime
from pipeline.model.stream import RawBatch

BUDGET = 16 << 20
"""Bytes asked of a source, or of the log, at once."""
ROUND, LEAST = 64 << 20, 1 << 20
"""Bytes asked of all sources together in one round, for a stop waits for its end; and of one of very many."""
READER = "engine"
"""The name under which the log keeps our position."""


@dataclass(slots=True)
class Input:
    """One source and what is known of its reading. `kept`: its rows go through the log."""

    name: str
    kind: str
    source: Source
    kept: bool
    batches: int = 0
    bytes: int = 0
    last_read: float = -math.inf
    """When something was read last, monotonic seconds."""
    newest: int = 0
    """The time of the last record (microseconds since 1970)."""
    lag: float = 0.0
    """How old the last record was when it was read (seconds)."""
    error: str = ""
    started: float = 0.0
    waiting: list[RawBatch] = field(default_factory=list)
    """Rows that the log could not take yet, and where they began."""
    before: Position = field(default_factory=dict)

    def position(self) -> Position:
        """Where the rows end that are safe."""
        return self.before if self.waiting else self.source.position()

    def rate(self, now: float) -> float:
        """Bytes a second since the start."""
        return self.bytes / max(now - self.started, 1e-9) if self.started else 0.0

    def note(self, batches: Sequence[RawBatch], now: float, wall: float) -> None:
        """Remember what was read."""
        self.started = self.started or now
        if batches:
            self.batches += len(batches)
            self.bytes += sum(len(batch.data) for batch in batches)
            self.last_read = now
            last = linetime.last(batches[-1]) or 0
            self.newest = max(self.newest, last)
            self.lag = max(0.0, wall - last / 1e6) if last else self.lag


@dataclass(frozen=True, slots=True)
class Round:
    """What one look at all inputs gave. `more`: at least one of them has more at once."""

    batches: list[RawBatch]
    more: bool


class Inputs:
    """All sources and the log of a process."""

    def __init__(self, inputs: Sequence[Input], log: Transport) -> None:
        self.inputs = inputs
        self.log = log
        self._position = log.begin()
        self._budget = min(BUDGET, max(LEAST, ROUND // max(1, len(inputs))))
        self._ends: dict[str, int] = {}
        """The next offset of each stream, of what stands in the log but perhaps not in the checkpoint."""
        self._errors: list[tuple[str, str]] = []

    @property
    def live(self) -> bool:
        """Whether all rows are of now, so that silence means that time passes."""
        return all(entry.source.live for entry in self.inputs)

    def read(self, now: float, wall: float) -> Round:
        """Look at every source and at the log. `now` is monotonic, `wall` since 1970, in seconds."""
        found: list[RawBatch] = []
        more = False
        for entry in self.inputs:
            if entry.kept:
                more |= self._keep(entry, now, wall)
            else:
                given, full = self._polled(entry, now, wall)
                found += given
                more |= full
        logged = self._logged()
        more |= sum(len(batch.data) for batch in logged) >= BUDGET // 2
        return Round([*found, *logged], more)

    def finished(self) -> bool:
        """Whether nothing will ever come again, and all is read."""
        ended = all(entry.source.finished() and not entry.waiting for entry in self.inputs)
        return ended and bool(self.inputs) and self._position == self.log.end()

    def positions(self) -> dict[str, Any]:
        """Where everything that was read ends, as JSON can hold it."""
        sources = {entry.name: {"type": entry.kind, "position": entry.position()} for entry in self.inputs}
        return {"log": dict(self._position), "sources": sources}

    def seek(self, positions: Mapping[str, Any]) -> Iterator[str]:
        """Go on at positions that `positions` gave. Gives a line for each source that has to begin anew."""
        self._position = positions["log"]
        known = positions["sources"]
        for entry in self.inputs:
            saved = known.get(entry.name)
            if saved is None or saved["type"] != entry.kind:
                continue
            try:
                entry.source.seek(saved["position"])
            except SourceError as error:
                yield str(error)
        self._learn()

    def commit(self, positions: Mapping[str, Any]) -> None:
        """Everything up to there is safe. Raises TransportError."""
        for entry in self.inputs:
            entry.source.commit(positions["sources"][entry.name]["position"])
        self.log.commit(READER, positions["log"])

    def troubles(self) -> Iterator[tuple[str, Trouble]]:
        """What went wrong since the last call, with the name of the input or of the log."""
        for entry in self.inputs:
            yield from ((entry.name, trouble) for trouble in entry.source.troubles())
        yield from (("log", trouble) for trouble in self.log.troubles())

    @staticmethod
    def status(entry: Input) -> SourceStatus:
        """How a source is; a source that cannot even say so is not alive."""
        try:
            return entry.source.status()
        except Exception as error:  # noqa: BLE001 (as in reading)
            return SourceStatus(alive=False, waiting=None, streams=0, text=f"{type(error).__name__}: {error}")

    def errors(self) -> Sequence[tuple[str, str]]:
        """Inputs that failed as a whole since the last call, each with what happened."""
        found, self._errors = self._errors, []
        return found

    def log_status(self) -> TransportStatus:
        """How the log is."""
        return self.log.status()

    def close(self) -> None:
        """Let all sources and the log go."""
        for entry in self.inputs:
            entry.source.close()
        self.log.close()

    def _logged(self) -> Sequence[RawBatch]:
        """What stands in the log behind what was read of it."""
        try:
            read = self.log.read(self._position, BUDGET)
        except TransportError as error:
            self._errors.append(("log", str(error)))
            return []
        self._position = read.position
        return read.batches

    def _polled(self, entry: Input, now: float, wall: float) -> tuple[list[RawBatch], bool]:
        try:
            batches = list(entry.source.poll(self._budget, now))
        except Exception as error:  # noqa: BLE001 (one source that fails must not stop the others)
            known = isinstance(error, HeadwaterError)
            entry.error = str(error) if known else f"reading {entry.name}: {type(error).__name__}: {error}; it is tried again"
            self._errors.append((entry.name, entry.error))
            return [], False
        entry.error = ""
        entry.note(batches, now, wall)
        return batches, sum(len(batch.data) for batch in batches) >= self._budget // 2

    def _keep(self, entry: Input, now: float, wall: float) -> bool:
        """Put the rows of a source into the log. While it takes none, the source is not asked for more."""
        full = False
        if not entry.waiting:
            entry.before = entry.source.position()
            polled, full = self._polled(entry, now, wall)
            entry.waiting = [batch for batch in map(self._unknown, polled) if batch is not None]
        if not entry.waiting:
            return full
        try:
            self.log.append(entry.waiting, wall)
        except TransportError as error:
            self._errors.append(("log", str(error)))
            return False
        self._ends.update((batch.stream.id, _end(batch)) for batch in entry.waiting)
        entry.waiting = []
        return full

    def _learn(self) -> None:
        """Which rows stand in the log already: those that were appended after the checkpoint."""
        position, end = self._position, self.log.end()
        while position != end:
            read = self.log.read(position, BUDGET)
            if read.position == position:
                return
            self._ends.update((batch.stream.id, _end(batch)) for batch in read.batches)
            position = read.position

    def _unknown(self, batch: RawBatch) -> RawBatch | None:
        """The part of a batch that does not stand in the log."""
        end = self._ends.get(batch.stream.id, 0)
        begin = batch.offset if batch.offsets is None else int(batch.offsets[0])
        if begin >= end:
            return batch
        if _end(batch) <= end:
            return None
        if batch.offsets is None:
            return RawBatch(batch.stream, batch.data[end - begin :], end)
        kept = [number >= end for number in batch.offsets]
        data = b"".join(record for record, new in zip(_records(batch), kept, strict=True) if new)
        return RawBatch(batch.stream, data, end, batch.offsets.filter(kept))


def _end(batch: RawBatch) -> int:
    """The offset behind a batch."""
    return batch.offset + len(batch.data) if batch.offsets is None else int(batch.offsets[-1]) + 1


def _records(batch: RawBatch) -> Iterable[bytes]:
    """Records with their continuation lines, which begin with a space."""
    records: list[bytes] = []
    for line in batch.data.splitlines(keepends=True):
        if records and line.startswith(b" "):
            records[-1] += line
        else:
            records.append(line)
    return records
