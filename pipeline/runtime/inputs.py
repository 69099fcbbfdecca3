"""The ways in: sources that are their own log, and the log for what cannot be read twice.

One `Input` a source. What a source gives that is not rereadable (or that shall be kept) goes into the log first, and comes out of
it like out of any other source. How far the source was read goes into the log with its rows (`pipeline.runtime.progress`). So a
place in the log says all of what is kept: a start reads on in the log, and has each source go on where its last note says.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts.source import Position, Source, SourceStatus, Trouble
from pipeline.contracts.transport import Transport, TransportStatus
from pipeline.errors import HeadwaterError, SourceError, TransportError
from pipeline.model import linetime
from pipeline.model.stream import RawBatch
from pipeline.runtime import progress
from pipeline.runtime.progress import Note

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
    """Rows that the log could not take yet."""
    noted: Position | None = None
    """The position that its last note led to."""
    place: dict[str, Any] = field(default_factory=dict)
    """Where its rows end that were read of the log, or later; with the notes behind them it becomes `noted`."""

    def __post_init__(self) -> None:
        self.place = progress.copied(self.source.position())

    @property
    def key(self) -> tuple[str, str]:
        """What the log knows it by."""
        return self.name, self.kind

    def saved(self, positions: Mapping[str, Any] | None) -> Position | None:
        """Its own of all positions; None where it had none, or another source had its name."""
        found = positions["sources"].get(self.name) if positions else None
        return found["position"] if found and found["type"] == self.kind else None

    def position(self) -> Position:
        """Where the rows end that were handed on."""
        return progress.copied(self.place) if self.kept else self.source.position()

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
        self._errors: list[tuple[str, str]] = []

    @property
    def live(self) -> bool:
        """Whether all rows are of now, so that silence means that time passes."""
        return all(entry.source.live for entry in self.inputs)

    def look(self, now: float, wall: float) -> None:
        """Have every source see what there is, without reading it: what comes later then lies behind its position."""
        for entry in self.inputs:
            self._polled(entry, 0, now, wall)

    def read(self, now: float, wall: float) -> Round:
        """Look at every source and at the log. `now` is monotonic, `wall` since 1970, in seconds."""
        found: list[RawBatch] = []
        more = False
        for entry in self.inputs:
            if entry.kept:
                more |= self._keep(entry, now, wall)
            else:
                given, full = self._polled(entry, self._budget, now, wall)
                found += given
                more |= full
        logged, unread = self._logged()
        return Round([*found, *logged], more or unread)

    def finished(self) -> bool:
        """Whether nothing will ever come again, and all is read."""
        ended = all(entry.source.finished() and not entry.waiting for entry in self.inputs)
        return ended and bool(self.inputs) and self._position == self.log.end()

    def positions(self) -> dict[str, Any]:
        """Where everything that was read ends, as JSON can hold it."""
        sources = {entry.name: {"type": entry.kind, "position": entry.position()} for entry in self.inputs}
        return {"log": dict(self._position), "sources": sources}

    def seek(self, positions: Mapping[str, Any] | None, begin: Mapping[str, Any] | None = None) -> Iterator[str]:
        """Go on at positions that `positions` gave, or from an earlier place `begin`: the log is read again from there, and every
        source that is its own log. Without any, the log is read from its beginning. Gives a line for each source that has to
        begin anew.
        """
        begin = begin or positions
        self._position = begin["log"] if begin else self.log.begin()
        saved = {entry.key: entry.saved(positions if entry.kept else begin) for entry in self.inputs}
        noted = self._noted({key: position for key, position in saved.items() if position is not None})
        for entry in self.inputs:
            if entry.key not in noted:
                continue
            try:
                entry.place = progress.copied(saved[entry.key] or entry.place)
                entry.source.seek(noted[entry.key])
                entry.noted = noted[entry.key]
            except SourceError as error:
                yield str(error)

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

    def _logged(self) -> tuple[list[RawBatch], bool]:
        """What stands in the log behind what was read of it, and whether there is more."""
        try:
            read = self.log.read(self._position, BUDGET)
        except TransportError as error:
            self._errors.append(("log", str(error)))
            return [], False
        self._position = read.position
        entries = {entry.key: entry for entry in self.inputs}
        for note in _notes(read.batches):
            if entry := entries.get((note.source, note.kind)):
                note.apply(entry.place)
        return [batch for batch in read.batches if batch.stream != progress.STREAM], self._position != self.log.end()

    def _polled(self, entry: Input, budget: int, now: float, wall: float) -> tuple[list[RawBatch], bool]:
        try:
            batches = list(entry.source.poll(budget, now))
        except Exception as error:  # noqa: BLE001 (one source that fails must not stop the others)
            known = isinstance(error, HeadwaterError)
            entry.error = str(error) if known else f"reading {entry.name}: {type(error).__name__}: {error}; it is tried again"
            self._errors.append((entry.name, entry.error))
            return [], False
        entry.error = ""
        entry.note(batches, now, wall)
        return batches, entry.source.more()

    def _keep(self, entry: Input, now: float, wall: float) -> bool:
        """Put the rows of a source into the log, with how far it was read. While it takes none, no more is asked for."""
        more = False
        if not entry.waiting:
            entry.waiting, more = self._polled(entry, self._budget, now, wall)
        position = entry.source.position()
        if entry.error or (position == entry.noted and not entry.waiting):
            return more
        note = progress.note(entry.name, entry.kind, entry.noted, position)
        try:
            self.log.append([*entry.waiting, note.batch()], wall)
        except TransportError as error:
            self._errors.append(("log", str(error)))
            return False
        entry.waiting, entry.noted = [], position
        return more

    def _noted(self, saved: Mapping[tuple[str, str], Position]) -> dict[tuple[str, str], Position]:
        """How far each source was read, by its name and type: what is saved, changed by all notes behind it."""
        found = {key: progress.copied(position) for key, position in saved.items()}
        position, end = self._position, self.log.end()
        while position != end:
            read = self.log.read(position, BUDGET)
            if read.position == position:
                break
            for note in _notes(read.batches):
                note.apply(found.setdefault((note.source, note.kind), {}))
            position = read.position
        return dict(found)


def _notes(batches: Sequence[RawBatch]) -> Iterator[Note]:
    return (progress.read(batch) for batch in batches if batch.stream == progress.STREAM)
