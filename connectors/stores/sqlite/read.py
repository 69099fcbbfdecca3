"""Rows into what was asked for. Every function works inside a transaction that the caller holds."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pipeline.contracts.store import Feedback, Matcher, Query, Silence, Statistic, Stored
from pipeline.model import public

SHORTEST = 6
"""Letters that the beginning of an id must have to stand for it."""
_LAST = "\U0010ffff"
"""No letter comes after it."""
LAST_VERDICT = "(SELECT verdict FROM feedback WHERE incident = incidents.number ORDER BY number DESC LIMIT 1)"


def number_of(database: sqlite3.Connection, identity: str) -> int | None:
    """The incident of an id, or of the beginning of exactly one."""
    row = database.execute("SELECT incident FROM ids WHERE id = ?", (identity,)).fetchone()
    if row is None and len(identity) >= SHORTEST:
        begun = "SELECT DISTINCT incident FROM ids WHERE id >= ? AND id < ? LIMIT 2"
        rows = database.execute(begun, (identity, identity + _LAST)).fetchall()
        row = rows[0] if len(rows) == 1 else None
    return None if row is None else int(row[0])


def stored(database: sqlite3.Connection, number: int, *, revisions: bool = False) -> Stored:
    """One incident."""
    row = database.execute(
        "SELECT thread, id, merged_into, revision, public FROM incidents JOIN forms ON incident = number WHERE number = ?",
        (number,),
    ).fetchone()
    thread, identity, merged_into, revision, text = row
    ids = database.execute("SELECT id FROM ids WHERE incident = ? AND id <> ? ORDER BY id", (number, identity)).fetchall()
    form = json.loads(text)
    form["evidence"]["lines"] = _lines(database, number)
    aliases = tuple(alias for (alias,) in ids)
    told = tuple(_revisions(database, number)) if revisions else ()
    return Stored(thread, identity, aliases, merged_into, revision, form, told, _feedback(database, number, thread))


def _lines(database: sqlite3.Connection, number: int) -> list[dict[str, Any]]:
    rows = database.execute("SELECT at, source, rule, origin, text FROM evidence WHERE incident = ? ORDER BY n", (number,))
    return [
        {"at": public.rfc3339(at), "source": source, "rule": rule, "origin": origin, "text": text}
        for at, source, rule, origin, text in rows
    ]


def _revisions(database: sqlite3.Connection, number: int) -> Iterable[tuple[int, int, dict[str, Any]]]:
    rows = database.execute("SELECT revision, at, public FROM revisions WHERE incident = ? ORDER BY revision", (number,))
    return ((revision, at, json.loads(zlib.decompress(form))) for revision, at, form in rows)


def _feedback(database: sqlite3.Connection, number: int, thread: str) -> tuple[Feedback, ...]:
    rows = database.execute("SELECT at, verdict, author, cause, note FROM feedback WHERE incident = ? ORDER BY number", (number,))
    return tuple(Feedback(thread, *row) for row in rows)


def incidents(database: sqlite3.Connection, query: Query) -> list[Stored]:
    """Incidents by filters, newest first."""
    where, values = condition(query)
    rows = database.execute(
        f"SELECT number FROM incidents WHERE {where} ORDER BY started DESC, number DESC LIMIT ?",  # noqa: S608 (our own words)
        (*values, query.limit),
    )
    return [stored(database, number) for (number,) in rows.fetchall()]


def condition(query: Query) -> tuple[str, list[Any]]:
    """The filters as a condition on `incidents`, with its values."""
    parts: list[tuple[str, Sequence[Any]]] = [("merged_into IS NULL", ())]
    if query.since is not None:
        parts.append(("(ended IS NULL OR ended >= ?)", (query.since,)))
    if query.until is not None:
        parts.append(("started <= ?", (query.until,)))
    given = ((column, getattr(query, column)) for column in ("signature", "layer", "level", "status"))
    parts += [(f"{column} = ?", (value,)) for column, value in given if value is not None]
    if query.roots:
        parts.append(("cause IS NULL AND status <> 'near_miss'", ()))
    if query.entity is not None:
        parts.append(_touching(query.entity))
    return " AND ".join(part for part, _ in parts), [value for _, values in parts for value in values]


def _touching(entity: str) -> tuple[str, Sequence[str]]:
    """`value`, `key=value`, or `namespace/name`."""
    key, given, value = entity.partition("=")
    if given:
        return "number IN (SELECT incident FROM entities WHERE value = ? AND key = ?)", (value, key)
    any_key = "number IN (SELECT incident FROM entities WHERE value = ?)"
    namespace, slash, name = entity.partition("/")
    if not slash:
        return any_key, (entity,)
    in_namespace = "number IN (SELECT incident FROM entities WHERE value = ? AND key = 'k8s.namespace.name')"
    return f"({any_key} OR {in_namespace} AND {any_key})", (entity, namespace, name)


def statistics(database: sqlite3.Connection, query: Query) -> list[Statistic]:
    """Per signature and what it struck, most frequent first."""
    where, values = condition(query)
    rows = database.execute(
        f"""
        SELECT signature, place, count(*) AS often, sum(max(0, coalesce(ended, last) - started)) / 1e6, max(started),
            sum({LAST_VERDICT} IS 'right'), sum({LAST_VERDICT} IS 'wrong')
        FROM incidents WHERE {where} AND real AND cause IS NULL
        GROUP BY signature, place ORDER BY often DESC, max(started) DESC, signature, place LIMIT ?""",  # noqa: S608 (our own words)
        (*values, query.limit),
    )
    return [Statistic(*row) for row in rows]


def silences(database: sqlite3.Connection, now: int) -> list[Silence]:
    """The silences that have not ended."""
    rows = database.execute(
        "SELECT id, matchers, starts, ends, author, comment, origin FROM silences WHERE ends > ? ORDER BY starts, id", (now,)
    )
    return [
        Silence(identity, tuple(Matcher(*one) for one in json.loads(matchers)), starts, ends, author, comment, origin)
        for identity, matchers, starts, ends, author, comment, origin in rows
    ]


def related(database: sqlite3.Connection, numbers: Iterable[int], side: Literal["causes", "symptoms"]) -> list[tuple[int, int]]:
    """Pairs of an incident and what it hangs below, or what hangs below it."""
    one, other = ("edges.incident", "ids.incident") if side == "causes" else ("ids.incident", "edges.incident")
    rows = database.execute(
        f"""
        SELECT {one}, {other} FROM edges JOIN ids ON ids.id = edges.cause JOIN incidents ON incidents.number = edges.incident
        WHERE {one} IN (SELECT value FROM json_each(?)) AND incidents.cause IS NOT NULL""",  # noqa: S608 (our own words)
        (json.dumps(sorted(numbers)),),
    )
    return rows.fetchall()
