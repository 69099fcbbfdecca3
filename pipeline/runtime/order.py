"""Rows of several streams, roughly in order of time: after a pause one stream has hours to give and another a line.

The engine takes rows that are late, but not by hours. While there is a backlog, what runs ahead of the streams that still give
is held back; without one, everything passes as it comes, and nothing is looked at. Held rows are a part of the checkpoint.

Limit: where more than `HELD` bytes would have to wait, the oldest go on early (`released`); rows of the slower streams may then
be too late for windows that are over, which the engine counts (`too_late`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.model import linetime
from pipeline.model.stream import RawBatch

HELD = 64 << 20
AHEAD = 20_000_000
"""Microseconds by which a stream may run ahead of the slowest: within the lateness of the engine."""


@dataclass(slots=True)
class Order:
    """Batches that wait for slower streams."""

    held: list[RawBatch] = field(default_factory=list)
    released: int = 0
    """Bytes that had to go on early."""
    _newest: dict[str, int] = field(default_factory=dict)

    def take(self, batches: Sequence[RawBatch], *, more: bool) -> list[RawBatch]:
        """What may go on now, of these batches and of those held. `more`: the streams of these batches have more to give."""
        everything = [*self.held, *batches]
        if not more:
            self.held = []
            self._newest.clear()
            return everything
        for batch in batches:
            self._newest[batch.stream.id] = linetime.last(batch) or self._newest.get(batch.stream.id, 0)
        horizon = min((self._newest[batch.stream.id] for batch in batches if self._newest[batch.stream.id]), default=0)
        taken: list[RawBatch] = []
        self.held = []
        for batch in everything:
            now, later = _divided(batch, horizon + AHEAD) if horizon else (batch, None)
            taken += [now] if now else []
            self.held += [later] if later else []
        return [*taken, *self._too_much()]

    def _too_much(self) -> list[RawBatch]:
        """What cannot be held any longer, oldest first."""
        size = sum(len(batch.data) for batch in self.held)
        taken: list[RawBatch] = []
        if size > HELD:
            self.held.sort(key=lambda batch: linetime.first(batch) or 0)
        while size > HELD:
            batch = self.held.pop(0)
            size -= len(batch.data)
            self.released += len(batch.data)
            taken.append(batch)
        return taken


def _divided(batch: RawBatch, horizon: int) -> tuple[RawBatch | None, RawBatch | None]:
    """The records up to a time, and those behind it. Records with offsets of their own stay together."""
    first, last = linetime.first(batch), linetime.last(batch)
    if first is None or last is None or last <= horizon:
        return batch, None
    if first > horizon:
        return None, batch
    if batch.offsets is not None:
        return batch, None
    at = linetime.split(batch, horizon)
    if at in (0, len(batch.data)):
        return (batch, None) if at else (None, batch)
    rest = RawBatch(batch.stream, batch.data[at:], batch.offset + at)
    return RawBatch(batch.stream, batch.data[:at], batch.offset), rest
