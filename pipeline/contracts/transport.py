"""What a transport must do: keep raw rows in order, durably, for several readers. It is the log.

* `append` returns when the rows would survive the death of the process (`kill -9`). It gives the position behind them. It
  raises TransportError when they could not be kept: nothing of the call may be half there for a reader, nothing appended before
  is harmed, and a later call works once the cause is gone (a full disk that has room again).
* A position is a mapping that JSON can hold; only the transport can read it. Records are read in the order of appending within
  one stream; between streams the order may differ (Kafka's partitions).
* `read` gives the records behind a position, at most about `budget` bytes but at least one batch if there is one, and the
  position behind what it gave. Reading changes nothing: each reader keeps its own position, saves it with `commit` and finds it
  with `committed`.
* `retain` drops what is older than `age` seconds or beyond `size` bytes, oldest first, whatever readers still wait for: a
  reader whose position is gone is taken to the oldest record there is, and `read` says what it missed as a Trouble of kind
  `gap`.
* What was damaged (a torn tail after a crash) is cut at the start, and `troubles` says what was cut.
* A batch comes back as it was given: the same stream, bytes and offsets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.contracts.source import Trouble
from pipeline.model.stream import RawBatch

Position = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Read:
    """Batches behind a position, and the position behind them."""

    batches: Sequence[RawBatch]
    position: Position


@dataclass(frozen=True, slots=True)
class TransportStatus:
    """How much is kept: bytes on disk (or with the broker), the age of the oldest record in seconds, and whether appending
    works.
    """

    size: int
    oldest: float | None
    writable: bool
    text: str = ""


class Transport(Protocol):
    """Keeps raw rows for several readers."""

    def append(self, batches: Sequence[RawBatch], now: float) -> Position:
        """Keep rows; `now` (seconds since 1970) is when. Raises TransportError."""

    def begin(self) -> Position:
        """The position of the oldest record."""

    def end(self) -> Position:
        """The position behind the newest record."""

    def read(self, position: Position, budget: int) -> Read:
        """What follows a position. Raises TransportError when it cannot be read at all."""

    def commit(self, reader: str, position: Position) -> None:
        """Keep a reader's position, durably."""

    def committed(self, reader: str) -> Position | None:
        """A reader's position as it was last kept."""

    def retain(self, now: float, *, age: float | None, size: int | None) -> int:
        """Drop what is too old or too much; gives the bytes dropped."""

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""

    def status(self) -> TransportStatus:
        """How it is."""

    def close(self) -> None:
        """Let everything go; what was appended is kept."""
