"""Records into rows. Every function works inside a transaction that the caller holds."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.contracts.store import Feedback
from pipeline.model import public
from pipeline.model.incident import Record

_COLUMNS = (
    "id", "revision", "merged_into", "signature", "layer", "level", "status", "place", "title", "summary", "cause", "started",
    "last", "ended", "real",
)  # fmt: skip
_INSERT = f"INSERT INTO incidents (thread, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)})"  # noqa: S608 (our own names)
_UPDATE = f"UPDATE incidents SET {', '.join(f'{column} = ?' for column in _COLUMNS)} WHERE number = ?"  # noqa: S608 (our own names)
_KNOWN = f"SELECT public, number, {', '.join(_COLUMNS)} FROM incidents JOIN forms ON incident = number WHERE thread = ?"  # noqa: S608 (our own names)


def record(database: sqlite3.Connection, one: Record) -> None:
    """Keep a record, new or as it is now."""
    values, form = _values(one), _json(one.public)
    known = database.execute(_KNOWN, (one.thread,)).fetchone()
    if known is None:
        number = int(database.execute(_INSERT, (one.thread, *values)).lastrowid or 0)
    else:
        number = int(known[1])
        if tuple(known) == (form, number, *values) and _lines(database, number) == list(_given_lines(one)):
            _ids(database, number, one)
            return
        forget_words(database, number)
        database.execute(_UPDATE, (*values, number))
    _ids(database, number, one)
    _replace(database, "forms", number, [(form,)])
    _replace(database, "evidence", number, _given_lines(one))
    _replace(database, "entities", number, _entities(one.public))
    _replace(database, "edges", number, ((cause["id"], cause["coverage"]) for cause in one.public["causes"]))
    revision = (number, one.revision, one.updated, zlib.compress(form.encode()))
    database.execute("INSERT OR IGNORE INTO revisions VALUES (?, ?, ?, ?)", revision)
    add_words(database, number)


def feedback(database: sqlite3.Connection, number: int, said: Feedback) -> None:
    """Keep what a person said of an incident."""
    forget_words(database, number)
    values = (number, said.at, said.verdict, said.author, said.cause, said.note)
    database.execute("INSERT INTO feedback (incident, at, verdict, author, cause, note) VALUES (?, ?, ?, ?, ?, ?)", values)
    add_words(database, number)


def drop(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Forget incidents with all that hangs on them."""
    for number in numbers:
        forget_words(database, number)
        database.execute("DELETE FROM incidents WHERE number = ?", (number,))


def forget_words(database: sqlite3.Connection, number: int) -> None:
    """Take an incident out of the index; while its words still stand in the tables, for the index does not keep them."""
    database.execute(
        "INSERT INTO words (words, rowid, title, evidence, entity, note) SELECT 'delete', * FROM documents WHERE number = ?",
        (number,),
    )


def add_words(database: sqlite3.Connection, number: int) -> None:
    """Put an incident into the index."""
    database.execute(
        "INSERT INTO words (rowid, title, evidence, entity, note) SELECT * FROM documents WHERE number = ?", (number,)
    )


def _values(one: Record) -> tuple[Any, ...]:
    form = one.public
    last = public.microseconds(form["evidence"]["last"])
    ended = public.microseconds(form["ended"]) if form["ended"] else None
    if one.merged_into is not None:
        ended = one.updated
    elif form["status"] == "near_miss":
        ended = last
    real = one.merged_into is None and form["status"] != "near_miss" and not form.get("withdrawn")
    return (
        one.id, one.revision, one.merged_into, form["signature"], form["layer"], form["level"], form["status"],
        public.place(form), form["title"], form["summary"], form["cause"], public.microseconds(form["started"]),
        last, ended, int(real),
    )  # fmt: skip


def _json(form: Mapping[str, Any]) -> str:
    """The public form without its evidence lines, which have a table of their own."""
    return json.dumps({**form, "evidence": {**form["evidence"], "lines": []}}, ensure_ascii=False, separators=(",", ":"))


def _ids(database: sqlite3.Connection, number: int, one: Record) -> None:
    """Each id leads to its incident; one that two lay claim to, to the one whose present id it is."""
    database.execute(
        "INSERT INTO ids VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET incident = excluded.incident", (one.id, number)
    )
    others = {one.thread, *one.aliases} - {one.id}
    database.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", [(identity, number) for identity in sorted(others)])


def _lines(database: sqlite3.Connection, number: int) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT n, at, source, rule, origin, text FROM evidence WHERE incident = ? ORDER BY n", (number,)
    ).fetchall()


def _given_lines(one: Record) -> Iterable[tuple[Any, ...]]:
    for n, line in enumerate(one.public["evidence"]["lines"]):
        yield n, public.microseconds(line["at"]), line["source"], line["rule"], line["origin"], line["text"]


def _entities(form: Mapping[str, Any]) -> Iterable[tuple[str, str, int]]:
    """What its rows touched and how often, and what it is about, touched or not."""
    merged = {key: dict(values) for key, values in form["entities"].items()}
    for key, value in form["group"].items():
        merged.setdefault(key, {}).setdefault(value, 0)
    return [(key, value, rows) for key, values in merged.items() for value, rows in values.items()]


def _replace(database: sqlite3.Connection, table: str, number: int, rows: Iterable[tuple[Any, ...]]) -> None:
    database.execute(f"DELETE FROM {table} WHERE incident = ?", (number,))  # noqa: S608 (our own names)
    given = [(number, *row) for row in rows]
    if given:
        database.executemany(f"INSERT INTO {table} VALUES (?{', ?' * (len(given[0]) - 1)})", given)  # noqa: S608 (our own names)
