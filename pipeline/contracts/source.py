"""What a source must do: read one system, and know how far it has come.

* `poll` gives what there is now, at most about `budget` bytes, and returns at once; `more` then says whether it left something
  that another call would get at once. A budget of 0 only looks what there is, and gives nothing.
  Records are whole: the end of a line that is still being written waits until it is (or until `LONGEST` bytes).
* `position` is where the rows given so far end: a value that JSON can hold and that only this source can read. After
  `seek(position)` the next `poll` goes on there, in another process or a week later. Positions are of the source's own making;
  the runtime saves them together with the state, and only then calls `commit`.
* A source that is `rereadable` gives the same records again after a `seek` to an older position (a file, a topic): it is its
  own log. What another gives is appended to the log before anything else sees it.
* What was lost between two polls (rotated away, overwritten in a ring buffer) is a `Trouble` of kind `gap` with its size.
* `RawBatch.stream.id` and `offset` name a record for ever: equal over restarts, never used for another record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.model.stream import RawBatch

Position = Mapping[str, Any]

LONGEST = 32 << 20
"""Bytes without an end of record after which a record is cut, as a `Trouble` says."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be read. `kind` is a short word for metrics (`unreadable`, `gap`, `cut`, `binary`), `subject`
    what it is about (a path), `text` one line for people: what was attempted, what happened, what to do. `amount` counts bytes
    or records.
    """

    kind: str
    subject: str
    text: str
    amount: int = 1


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is. `alive`: it can be read; `waiting` the bytes known to be unread (None: unknown); `streams` how many it
    follows.
    """

    alive: bool
    waiting: int | None
    streams: int
    text: str = ""


class Source(Protocol):
    """Reads one system."""

    rereadable: bool
    live: bool
    """Whether its rows are of now: silence of a recording says nothing, and the clock on the wall is not its clock."""

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """What there is, at most about `budget` bytes. `now` (seconds, monotonic) tells when to look for new files again."""

    def more(self) -> bool:
        """Whether the last `poll` stopped because of its budget: also where it gave nothing, as in the midst of a long line."""

    def position(self) -> Position:
        """Where the rows given so far end."""

    def seek(self, position: Position) -> None:
        """Go on at a position that `position` gave. Raises SourceError for one that it cannot read."""

    def commit(self, position: Position) -> None:
        """All rows up to `position` are safe: what is kept for their sake may go."""

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call; something that stays wrong is given once, and again when it changes."""

    def status(self) -> SourceStatus:
        """How it is."""

    def finished(self) -> bool:
        """Whether nothing will ever come again (the end of standard input, of a recording)."""

    def close(self) -> None:
        """Let everything go."""
