"""What a store must do: keep incidents with their evidence and revisions, and find them again.

* `save` upserts records by their thread (the first id given out), as often as they come: saving the same record twice changes
  nothing. A record that was merged into another keeps its row and points there. Every id a record ever had finds it.
* A revision is kept for every record whose `revision` is new; evidence lines are kept once, with their origin (stream and
  position), as the newest record has them; revisions are kept without theirs.
* What was merged into another is found by its ids alone. Likeness and statistics leave out near misses and what was withdrawn
  as well: they did not happen.
* `search` looks through titles, summaries, evidence lines, entities and feedback notes: words (all of them), "phrases", and
  prefixes with `*`. Whatever a person types is text, never the query language of the engine below.
* A store that is not ours, or of a newer version, is refused untouched (StoreError says what to do); an older one is migrated,
  with a backup beside it.
* Times are microseconds since 1970, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipeline.model.incident import Record

Verdict = Literal["right", "wrong"]


@dataclass(frozen=True, slots=True)
class Query:
    """Which incidents: all that are given must hold. `since`/`until` bound the time in which an incident was going on; `entity`
    is a value (`node-b`, `shop/cart`) or `key=value`; `roots` leaves out what hangs below another and near
    misses.
    """

    since: int | None = None
    until: int | None = None
    signature: str | None = None
    layer: str | None = None
    level: str | None = None
    entity: str | None = None
    status: str | None = None
    roots: bool = False
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said of an incident: was the cause right, and else which signature it was."""

    thread: str
    at: int
    verdict: Verdict
    author: str
    cause: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An incident as it is kept. `incident` is the public form; `revisions` are (revision, time, public form), oldest first."""

    thread: str
    id: str
    aliases: tuple[str, ...]
    merged_into: str | None
    revision: int
    incident: Mapping[str, Any]
    revisions: tuple[tuple[int, int, Mapping[str, Any]], ...] = ()
    feedback: tuple[Feedback, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """An incident that a search found. `score` larger is better; `where` says in what (title, evidence, entity, note) and
    `text` shows it.
    """

    incident: Stored
    score: float
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Likeness:
    """A past incident like another. `score` from 0 to 1; `why` are short texts (same signature, same node, same victims);
    `ended` what ended it, if said.
    """

    incident: Stored
    score: float
    why: tuple[str, ...]
    ended: str


@dataclass(frozen=True, slots=True)
class Statistic:
    """How often a signature struck an entity, for how long in all (seconds), and what people said of it."""

    signature: str
    entity: str
    count: int
    seconds: float
    last: int
    right: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on labels, as Alertmanager means it: `=`, `!=`, `=~`, `!~` (whole value)."""

    name: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Notifications whose labels meet all matchers are held back from `starts` to `ends`. `origin` is where it was made (here,
    or an Alertmanager).
    """

    id: str
    matchers: tuple[Matcher, ...]
    starts: int
    ends: int
    author: str
    comment: str
    origin: str = "headwater"


class Store(Protocol):
    """Keeps and finds incidents."""

    def save(self, records: Sequence[Record], now: int) -> None:
        """Keep records. Raises StoreError; then nothing of the call is kept and it may be made again."""

    def incident(self, identity: str) -> Stored | None:
        """The incident that has, or ever had, this id (a beginning of 6 letters or more is enough where it is unique)."""

    def incidents(self, query: Query) -> Sequence[Stored]:
        """Incidents by filters, newest first; without revisions."""

    def search(self, text: str, query: Query) -> Sequence[Hit]:
        """Incidents by text, best first."""

    def similar(self, identity: str, limit: int = 10) -> Sequence[Likeness]:
        """Past incidents like one, best first, itself not among them. Raises StoreError for an id that is none."""

    def add_feedback(self, feedback: Feedback) -> None:
        """Keep what a person said."""

    def statistics(self, query: Query) -> Sequence[Statistic]:
        """Per signature and entity, most frequent first; only roots."""

    def silences(self, now: int) -> Sequence[Silence]:
        """The silences that have not ended."""

    def put_silence(self, silence: Silence) -> None:
        """Keep a silence, new or changed (an earlier `ends` ends it)."""

    def retain(self, now: int, *, age: float | None, size: int | None) -> int:
        """Drop ended incidents that are older than `age` seconds, oldest first, until the store is below `size` bytes; gives
        how many.
        """

    def size(self) -> int:
        """Bytes it takes."""

    def close(self) -> None:
        """Let everything go."""
