"""A log in memory: for tests, and for a run that may lose everything. Keeps all that the contract says but durability."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from pipeline.contracts import Context
from pipeline.contracts.source import Trouble
from pipeline.contracts.transport import Position, Read, TransportStatus
from pipeline.errors import TransportError
from pipeline.model.stream import RawBatch


class Settings(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(slots=True)
class Memory:
    """Batches in a list; a position is how many were appended before it."""

    _kept: list[tuple[float, RawBatch]] = field(default_factory=list)
    _dropped: int = 0
    _readers: dict[str, Position] = field(default_factory=dict)
    _troubles: list[Trouble] = field(default_factory=list)
    _now: float = 0

    def append(self, batches: Sequence[RawBatch], now: float) -> Position:
        """Keep rows."""
        self._now = now
        self._kept.extend((now, batch) for batch in batches)
        return self.end()

    def begin(self) -> Position:
        """The position of the oldest record."""
        return {"number": self._dropped}

    def end(self) -> Position:
        """The position behind the newest record."""
        return {"number": self._dropped + len(self._kept)}

    def read(self, position: Position, budget: int) -> Read:
        """What follows a position."""
        number = position.get("number")
        if not isinstance(number, int):
            raise TransportError(f"reading the log in memory: {position} is no position of it; begin anew without one")
        if number < self._dropped:
            lost = self._dropped - number
            self._troubles.append(Trouble("gap", "log", f"{lost} batches were dropped before they were read", lost))
        at = max(number - self._dropped, 0)
        taken: list[RawBatch] = []
        while at < len(self._kept) and (not taken or budget >= len(self._kept[at][1].data)):
            batch = self._kept[at][1]
            taken.append(batch)
            at, budget = at + 1, budget - len(batch.data)
        return Read(taken, {"number": self._dropped + at})

    def commit(self, reader: str, position: Position) -> None:
        """Keep a reader's position."""
        self._readers[reader] = dict(position)

    def committed(self, reader: str) -> Position | None:
        """A reader's position as it was last kept."""
        return self._readers.get(reader)

    def retain(self, now: float, *, age: float | None, size: int | None) -> int:
        """Drop what is too old or too much, batch by batch."""
        self._now, dropped = now, 0
        total = sum(len(batch.data) for _, batch in self._kept)
        while self._kept:
            at, batch = self._kept[0]
            if not ((age is not None and at < now - age) or (size is not None and total > size)):
                break
            del self._kept[0]
            self._dropped += 1
            total, dropped = total - len(batch.data), dropped + len(batch.data)
        return dropped

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""
        found, self._troubles = self._troubles, []
        return found

    def status(self) -> TransportStatus:
        """How much is kept."""
        oldest = self._now - self._kept[0][0] if self._kept else None
        return TransportStatus(sum(len(batch.data) for _, batch in self._kept), oldest, writable=True)

    def close(self) -> None:
        """Nothing is held."""


def create(settings: Settings, context: Context) -> Memory:
    """An empty log."""
    return Memory()
