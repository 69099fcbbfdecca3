"""What must survive a kill together: the checkpoint of the engine and its sources, and what is still to be said.

One SQLite file, `state.db`. `save` keeps the parts of a checkpoint and new notifications in one transaction, so that a restart
neither says twice what was said nor forgets what was to be said. The number of attempts is written before each attempt: what may
have been sent is known after a crash. A call waits about a second for another process that holds the file, then it raises
StoreError; nothing of it is kept and it may be made again. Calls may come from any thread.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import databases
from pipeline.contracts.sink import Event, Notification, Receipt, as_json
from pipeline.databases import Database
from pipeline.errors import StoreError

FILE = "state.db"
"""Its name in a state folder."""
APPLICATION = 0x48445753
"""`HDWS`; the header of the file says so."""
VERSION = 1
DAMAGED = "stop Headwater and move it away; what was not yet sent is lost with it"
PATIENCE = 1.0
"""Seconds that a call waits for a lock."""
DAY = 86_400 * 1_000_000
KEPT = 7 * DAY
"""Microseconds for which a delivery that is done, and the receipt of a thread that is closed, are kept."""
LONGEST = 90 * DAY
"""The same for the receipt of a thread that was never closed."""

_TABLES = (
    "CREATE TABLE parts (name TEXT PRIMARY KEY, content BLOB NOT NULL)",
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        receiver TEXT NOT NULL, thread TEXT NOT NULL, key TEXT NOT NULL, event TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'pending', done INTEGER, error TEXT NOT NULL DEFAULT '',
        notification TEXT NOT NULL,
        UNIQUE (receiver, key)
    )""",
    "CREATE INDEX outbox_pending ON outbox (receiver, number) WHERE state = 'pending'",
    "CREATE INDEX outbox_done ON outbox (done) WHERE done IS NOT NULL",
    """CREATE TABLE receipts (
        receiver TEXT NOT NULL, thread TEXT NOT NULL, at INTEGER NOT NULL, last INTEGER NOT NULL, receipt TEXT NOT NULL,
        PRIMARY KEY (receiver, thread)
    )""",
)
_ROW = "number, receiver, thread, key, event, attempts, state, error"


@dataclass(frozen=True, slots=True)
class Intent:
    """A notification that a receiver (a sink, by its name in the configuration) is to get."""

    receiver: str
    notification: Notification


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery without its content. Rows count upwards in the order in which they were decided. `attempts` were begun;
    `state` is pending, sent, failed (given up) or superseded (a newer one says more); `error` is what the last attempt met.
    """

    number: int
    receiver: str
    thread: str
    key: str
    event: Event
    attempts: int
    state: str
    error: str


class Ledger:
    """The file at `path`, made where there is none. Raises StoreError for one that is not ours or newer; it stays untouched."""

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        self._path, self._patience = path, patience
        self._lock = threading.Lock()
        self._closed = False
        self._file = Database(path, "state", APPLICATION, VERSION, DAMAGED)
        self._database = self._file.open(patience, _prepare)

    def save(self, parts: Mapping[str, bytes], intents: Sequence[Intent]) -> None:
        """Keep parts of a checkpoint (those not named stay as they are) and what is to be said, all or nothing. A notification
        whose key its receiver already has changes nothing. Raises StoreError.
        """
        rows = [
            (i.receiver, i.notification.thread, i.notification.key, i.notification.event, as_json(i.notification))
            for i in intents
        ]
        with self._transaction("saving into") as database:
            database.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?)", parts.items())
            insert = (
                "INSERT INTO outbox (receiver, thread, key, event, notification) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            )
            database.executemany(insert, rows)

    def parts(self) -> dict[str, bytes]:
        """The checkpoint, by the names of its parts."""
        with self._transaction("reading", "BEGIN") as database:
            return dict(database.execute("SELECT name, content FROM parts"))

    def pending(self, receiver: str, after: int = 0) -> list[Row]:
        """What a receiver is still to get, in order; only rows behind number `after`."""
        which = "WHERE state = 'pending' AND receiver = ? AND number > ? ORDER BY number"
        return self._rows(which, (receiver, after))

    def listed(self, state: str, limit: int) -> list[Row]:
        """Rows of all receivers in a state, newest first."""
        return self._rows("WHERE state = ? ORDER BY number DESC LIMIT ?", (state, limit))

    def standing(self, receiver: str) -> list[Row]:
        """The last that a receiver got in each thread that is going on."""
        which = """WHERE number IN (SELECT last FROM receipts WHERE receiver = ?) AND event IN ('opened', 'updated')
            AND state = 'sent' ORDER BY number"""
        return self._rows(which, (receiver,))

    def content(self, row: Row) -> str:
        """The notification of a row, as `as_json` wrote it. Raises StoreError for one that is gone."""
        with self._transaction("reading", "BEGIN") as database:
            found = database.execute("SELECT notification FROM outbox WHERE number = ?", (row.number,)).fetchone()
        if found is None:
            raise StoreError(f"reading the state {self._path}: delivery {row.key} to {row.receiver} is gone")
        return str(found[0])

    def receipt(self, receiver: str, thread: str) -> Receipt | None:
        """What the last delivery of a thread gave."""
        with self._transaction("reading", "BEGIN") as database:
            query = "SELECT receipt FROM receipts WHERE receiver = ? AND thread = ?"
            found = database.execute(query, (receiver, thread)).fetchone()
        return json.loads(found[0]) if found else None

    def attempted(self, row: Row) -> None:
        """Say before an attempt that there is one."""
        with self._transaction("writing into") as database:
            database.execute("UPDATE outbox SET attempts = attempts + 1 WHERE number = ?", (row.number,))

    def sent(self, row: Row, receipt: Receipt, now: int) -> None:
        """Mark a row (also one that was sent before) and keep the receipt of its thread; `now` in microseconds since 1970."""
        with self._transaction("writing into") as database:
            done = "UPDATE outbox SET state = 'sent', done = ?, error = '' WHERE number = ?"
            database.execute(done, (now, row.number))
            kept = (row.receiver, row.thread, now, row.number, json.dumps(receipt))
            database.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?)", kept)

    def failed(self, row: Row, why: str, now: int, *, permanent: bool) -> None:
        """Keep what an attempt met; a permanent failure gives the row up."""
        state, done = ("failed", now) if permanent else ("pending", None)
        with self._transaction("writing into") as database:
            values = (state, done, why, row.number)
            database.execute("UPDATE outbox SET state = ?, done = ?, error = ? WHERE number = ?", values)

    def superseded(self, rows: Sequence[Row], now: int) -> None:
        """Give rows up because newer ones of their threads say more."""
        with self._transaction("writing into") as database:
            change = "UPDATE outbox SET state = 'superseded', done = ? WHERE number = ?"
            database.executemany(change, [(now, row.number) for row in rows])

    def forget_others(self, receivers: Iterable[str]) -> dict[str, int]:
        """Drop what waits for anybody but these receivers; gives how many deliveries, by receiver. Nothing of it is kept, so that
        a receiver that comes back is told anew.
        """
        with self._transaction("tidying") as database:
            found = dict(database.execute("SELECT receiver, count(*) FROM outbox WHERE state = 'pending' GROUP BY receiver"))
            gone = {receiver: number for receiver, number in found.items() if receiver not in set(receivers)}
            drop = "DELETE FROM outbox WHERE state = 'pending' AND receiver = ?"
            database.executemany(drop, [(receiver,) for receiver in gone])
            return gone

    def retain(self, now: int) -> int:
        """Drop what was done long ago, but for the last of each thread that is going on; gives how many deliveries."""
        with self._transaction("tidying") as database:
            closed = "EXISTS (SELECT 1 FROM outbox WHERE number = last AND event NOT IN ('opened', 'updated'))"
            database.execute(f"DELETE FROM receipts WHERE at < ? OR (at < ? AND {closed})", (now - LONGEST, now - KEPT))  # noqa: S608 (ours)
            old = "DELETE FROM outbox WHERE done < ? AND number NOT IN (SELECT last FROM receipts)"
            return database.execute(old, (now - KEPT,)).rowcount

    def close(self) -> None:
        """Close the file; whatever is called after it raises StoreError."""
        with self._lock:
            self._closed = True
            self._database.close()

    def _rows(self, which: str, values: tuple[Any, ...]) -> list[Row]:
        with self._transaction("reading", "BEGIN") as database:
            found = database.execute(f"SELECT {_ROW} FROM outbox {which}", values)  # noqa: S608 (both are ours)
            return [Row(*row) for row in found]

    @contextlib.contextmanager
    def _transaction(self, doing: str, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All or nothing, one thread at a time."""
        if not self._lock.acquire(timeout=self._patience):
            raise StoreError(f"{doing} the state {self._path}: another thread is still at it; it may be tried again")
        try:
            with self._file.said(doing):
                if self._closed:
                    raise StoreError(f"{doing} the state {self._path}: it was closed")
                with databases.whole(self._database, begin):
                    yield self._database
        finally:
            self._lock.release()


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA synchronous = FULL")
    _make(database)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA journal_size_limit = 67108864")


def _make(database: sqlite3.Connection) -> None:
    """The tables, where there are none yet; mark and tables come in one transaction, so that no half-made file is left."""
    with databases.whole(database):
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _TABLES:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
