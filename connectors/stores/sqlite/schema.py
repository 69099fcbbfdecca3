"""The file of the store: what is in it, how it is opened, what is refused, and how an older one becomes a newer one.

`application_id` in the header says that a file is ours, `user_version` how many migrations made it. Both are
looked at before the file is opened for good: that alone may change it, or what lies beside it.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import databases
from pipeline.databases import Database

APPLICATION = 0x48445752
"""`HDWR`."""
DAMAGED = "move it away, or save what `sqlite3 FILE .recover` still finds in it"

_FIRST = """
CREATE TABLE incidents (
    number INTEGER PRIMARY KEY,
    thread TEXT NOT NULL UNIQUE, id TEXT NOT NULL, revision INTEGER NOT NULL, merged_into TEXT,
    signature TEXT NOT NULL, layer TEXT NOT NULL, level TEXT NOT NULL, status TEXT NOT NULL,
    place TEXT NOT NULL, title TEXT NOT NULL, summary TEXT NOT NULL, cause TEXT,
    started INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER,
    real INTEGER NOT NULL
);
CREATE TABLE forms (
    incident INTEGER PRIMARY KEY REFERENCES incidents ON DELETE CASCADE, public TEXT NOT NULL
);
CREATE INDEX incidents_started ON incidents (started);
CREATE INDEX incidents_signature ON incidents (signature, started);
CREATE INDEX incidents_ended ON incidents (ended) WHERE ended IS NOT NULL;
CREATE TABLE ids (
    id TEXT PRIMARY KEY, incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX ids_incident ON ids (incident);
CREATE TABLE revisions (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    revision INTEGER NOT NULL, at INTEGER NOT NULL, public BLOB NOT NULL,
    PRIMARY KEY (incident, revision)
) WITHOUT ROWID;
CREATE TABLE evidence (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    n INTEGER NOT NULL, at INTEGER NOT NULL, source TEXT NOT NULL, rule TEXT NOT NULL, origin TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (incident, n)
) WITHOUT ROWID;
CREATE TABLE entities (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    key TEXT NOT NULL, value TEXT NOT NULL, rows INTEGER NOT NULL,
    PRIMARY KEY (incident, key, value)
) WITHOUT ROWID;
CREATE INDEX entities_value ON entities (value, key);
CREATE TABLE edges (
    incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    cause TEXT NOT NULL, coverage REAL NOT NULL,
    PRIMARY KEY (incident, cause)
) WITHOUT ROWID;
CREATE INDEX edges_cause ON edges (cause);
CREATE TABLE feedback (
    number INTEGER PRIMARY KEY, incident INTEGER NOT NULL REFERENCES incidents ON DELETE CASCADE,
    at INTEGER NOT NULL, verdict TEXT NOT NULL, author TEXT NOT NULL, cause TEXT, note TEXT NOT NULL
);
CREATE INDEX feedback_incident ON feedback (incident);
CREATE TABLE silences (
    id TEXT PRIMARY KEY, matchers TEXT NOT NULL, starts INTEGER NOT NULL, ends INTEGER NOT NULL,
    author TEXT NOT NULL, comment TEXT NOT NULL, origin TEXT NOT NULL
) WITHOUT ROWID;
CREATE VIEW documents AS SELECT
    number,
    title || char(10) || summary || char(10) || signature AS title,
    (SELECT group_concat(text, char(10)) FROM
        (SELECT text FROM evidence WHERE incident = number GROUP BY text ORDER BY min(n))) AS evidence,
    place || coalesce(char(10) || (SELECT group_concat(value, char(10)) FROM
        (SELECT DISTINCT value FROM entities WHERE incident = number ORDER BY value)), '') AS entity,
    (SELECT group_concat(said, char(10)) FROM
        (SELECT note || ' ' || coalesce(cause, '') AS said FROM feedback
            WHERE incident = incidents.number ORDER BY feedback.number)) AS note
FROM incidents;
CREATE VIRTUAL TABLE words USING fts5 (
    title, evidence, entity, note, content = documents, content_rowid = number,
    tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2'
)
"""

Migration = Callable[[sqlite3.Connection], None]


def _first(database: sqlite3.Connection) -> None:
    """Version 1. One document an incident is searched, so that words may stand in its title and its evidence; its text is taken
    from the tables when it is needed and stands in the file once.
    """
    for statement in _FIRST.split(";\n"):
        database.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (_first,)
"""What makes each version out of the one before it. A step that was released never changes."""


def file(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Database:
    """The file at `path`; `connect` opens it."""
    return Database(path, "store", APPLICATION, len(migrations), DAMAGED)


def connect(path: Path, patience: float, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """The database at `path`, new or brought up to date; waits `patience` seconds for a lock. Raises StoreError."""
    ours = file(path, migrations)

    def prepare(database: sqlite3.Connection) -> None:
        _mark(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("PRAGMA cache_size = -16384")
        _migrate(database, ours, migrations)

    return ours.open(patience, prepare)


def _mark(database: sqlite3.Connection) -> None:
    """Say whose it is, where there is nothing yet: with its first page, for a page without a mark would be a stranger's after a
    kill. The mark must not wait in the log, so this comes before there is one.
    """
    if database.execute("PRAGMA page_count").fetchone()[0]:
        return
    with databases.whole(database, "BEGIN"):  # not IMMEDIATE: that makes the page, and then the way of vacuuming is settled
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute(f"PRAGMA application_id = {APPLICATION}")


def _migrate(database: sqlite3.Connection, ours: Database, migrations: Sequence[Migration]) -> None:
    if _version(database) == len(migrations):
        return
    with databases.whole(database):  # two processes may have come here at the same time
        version = _version(database)
        ours.refuse_newer(version)
        if 0 < version < len(migrations):
            _back_up(ours.path, ours.path.with_name(f"{ours.path.name}.v{version}"))
        for step in migrations[version:]:
            step(database)
        database.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _back_up(path: Path, target: Path) -> None:
    """A whole copy, as it was before; an unfinished one is never taken for it."""
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
    unfinished.replace(target)
