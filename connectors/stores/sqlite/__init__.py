"""Incidents in one SQLite file: nothing to install, nothing to run, readable with `sqlite3`.

What holds beside the contract:

* Commands read while the service writes (WAL). A call that finds the file locked waits for half a minute before it fails; a write
  that failed kept nothing.
* After a crash of the process nothing is lost; after a loss of power the last writes may be, which the log gives again
  (`synchronous=NORMAL`).
* Evidence lines are kept as the incident has them now; revisions are kept without theirs.
* A search ranks the 1,000 newest incidents that match. Where words stand together or apart in the text of one incident does not
  matter, unless they are quoted.
* Deleted space is given back to the file system by `retain`.
* A file on a network file system is not supported: SQLite's locks and shared memory need a local one.

One connection, opened by the first call; calls may come from any thread, one at a time.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from connectors.stores.sqlite import likely, read, schema, search, write
from pipeline import databases
from pipeline.contracts import Context
from pipeline.contracts.store import Feedback, Hit, Likeness, Query, Silence, Statistic, Stored
from pipeline.errors import StoreError
from pipeline.model.incident import Record

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a call waits for another process to let go of the file."""
_AT_ONCE = 200
"""Incidents that are dropped in one transaction: others may write in between."""
_MERGED = 500
"""Pages of the index that are tidied up after each such transaction."""


class Settings(BaseModel):
    """`path`: the file; by default `incidents.db` in the state folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = None


def create(settings: Settings, context: Context) -> "SQLite":
    """The store; its file is opened, or made, by the first call."""
    return SQLite(settings.path or context.state / "incidents.db", patience=context.patience)


class SQLite:
    """Implements `pipeline.contracts.store.Store`; `patience` are the seconds that a call waits for a lock."""

    def __init__(
        self, path: Path, *, patience: float = PATIENCE, migrations: Sequence[schema.Migration] = schema.MIGRATIONS
    ) -> None:
        self._path = path
        self._file = schema.file(path, migrations)
        self._patience = patience
        self._migrations = migrations
        self._open: sqlite3.Connection | None = None

    def save(self, records: Sequence[Record], now: int) -> None:
        """Keep records, all or none."""

        def work(database: sqlite3.Connection) -> None:
            for record in records:
                write.record(database, record)

        if records:
            self._write("writing incidents into", work)

    def incident(self, identity: str) -> Stored | None:
        """The incident of an id, with its revisions."""

        def work(database: sqlite3.Connection) -> Stored | None:
            number = read.number_of(database, identity)
            return None if number is None else read.stored(database, number, revisions=True)

        return self._read(work)

    def incidents(self, query: Query) -> Sequence[Stored]:
        """Incidents by filters, newest first."""
        return self._read(lambda database: read.incidents(database, query))

    def search(self, text: str, query: Query) -> Sequence[Hit]:
        """Incidents by text, best first."""
        return self._read(lambda database: search.search(database, text, query))

    def similar(self, identity: str, limit: int = 10) -> Sequence[Likeness]:
        """Past incidents like one, best first."""
        return self._read(lambda database: likely.similar(database, self._number(database, identity), limit))

    def add_feedback(self, feedback: Feedback) -> None:
        """Keep what a person said. Raises StoreError for an incident that is none."""
        self._write(
            "writing feedback into",
            lambda database: write.feedback(database, self._number(database, feedback.thread), feedback),
        )

    def statistics(self, query: Query) -> Sequence[Statistic]:
        """Per signature and what it struck, most frequent first."""
        return self._read(lambda database: read.statistics(database, query))

    def silences(self, now: int) -> Sequence[Silence]:
        """The silences that have not ended."""
        return self._read(lambda database: read.silences(database, now))

    def put_silence(self, silence: Silence) -> None:
        """Keep a silence, new or changed."""
        matchers = json.dumps([(one.name, one.operator, one.value) for one in silence.matchers])
        row = (silence.id, matchers, silence.starts, silence.ends, silence.author, silence.comment, silence.origin)
        self._write(
            "writing a silence into",
            lambda database: database.execute("INSERT OR REPLACE INTO silences VALUES (?, ?, ?, ?, ?, ?, ?)", row),
        )

    def retain(self, now: int, *, age: float | None, size: int | None) -> int:
        """Drop ended incidents that are too old, then the oldest until the file is small enough, and give the space back."""
        dropped = 0
        if age is not None:
            before = now - round(age * 1_000_000)
            while gone := self._write("dropping old incidents from", lambda database: _drop(database, before)):
                dropped += gone
        while size is not None and self.size() > size:
            if not (gone := self._write("dropping old incidents from", lambda database: _drop(database, now))):
                break
            dropped += gone
            self._give_back()
        if dropped:
            self._give_back()
        return dropped

    def size(self) -> int:
        """Bytes of the file and of what waits beside it."""
        self._database()
        beside = self._path.with_name(self._path.name + "-wal")
        return self._path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)

    def close(self) -> None:
        """Close the file; SQLite then folds what waits beside it into it."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = schema.connect(self._path, self._patience, self._migrations)
        return self._open

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        database = self._database()
        with self._file.said("reading"), databases.whole(database, "BEGIN"):
            return work(database)

    def _write(self, doing: str, work: Callable[[sqlite3.Connection], T]) -> T:
        database = self._database()
        with self._file.said(doing), databases.whole(database):
            return work(database)

    def _number(self, database: sqlite3.Connection, identity: str) -> int:
        number = read.number_of(database, identity)
        if number is None:
            raise StoreError(f"looking for the incident {identity}: the store {self._path} has none of this id")
        return number

    def _give_back(self) -> None:
        """Free pages to the file system; a reader that is still at it may keep some back until the next time."""
        database = self._database()
        with self._file.said("tidying"):
            database.executescript("PRAGMA incremental_vacuum")  # `execute` would stop after the first page
            database.execute("PRAGMA busy_timeout = 0")
            try:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                database.execute(f"PRAGMA busy_timeout = {round(self._patience * 1000)}")


def _drop(database: sqlite3.Connection, before: int) -> int:
    """Drop some of the oldest incidents that ended before a time; gives how many."""
    oldest = "SELECT number FROM incidents WHERE ended < ? ORDER BY ended LIMIT ?"
    numbers = [number for (number,) in database.execute(oldest, (before, _AT_ONCE))]
    write.drop(database, numbers)
    if numbers:  # what was deleted leaves the index only as that is merged
        database.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (_MERGED,))
    return len(numbers)
