"""Incidents by text. Works inside a transaction that the caller holds."""

import sqlite3
from collections.abc import Sequence

from connectors.stores.sqlite import read
from connectors.terms import Term, terms
from pipeline.contracts.store import Hit, Query

NEWEST = 1000
"""Of what matches, the last kept are ranked: a word that is everywhere must not cost seconds at 3 a.m."""
_WEIGHTS = "10.0, 1.0, 4.0, 8.0"
"""What a word counts in the columns of `words`, in their order."""
_COLUMNS = (("title", 0), ("note", 3), ("entity", 2), ("evidence", 1))
"""Where a hit is said to be, first come first: the column's name and its place in `words`."""
_BEGIN, _END = "\x02", "\x03"


def search(database: sqlite3.Connection, text: str, query: Query) -> list[Hit]:
    """The best hits first."""
    asked = _expression(terms(text))
    if not asked:
        return []
    where, values = read.condition(query)
    chosen = f"words MATCH ? AND rowid IN (SELECT number FROM incidents WHERE {where})"  # noqa: S608 (our own words)
    ranked = f"""
        SELECT rowid, bm25(words, {_WEIGHTS}) AS rank_ FROM words
        WHERE {chosen} AND rowid >= coalesce((SELECT rowid FROM words WHERE {chosen} ORDER BY rowid DESC LIMIT 1 OFFSET ?), 0)
        ORDER BY rank_, rowid DESC LIMIT ?"""  # noqa: S608 (our own words)
    rows = database.execute(ranked, (asked, *values, asked, *values, NEWEST - 1, query.limit)).fetchall()
    return [_hit(database, number, asked, -score) for number, score in rows]


def _expression(asked: Sequence[Term]) -> str:
    """Every term as a string of FTS5: nothing in it is an operator, several words in it are a phrase."""
    return " AND ".join('"' + term.text.replace('"', '""') + '"' + "*" * term.prefix for term in asked)


def _hit(database: sqlite3.Connection, number: int, asked: str, score: float) -> Hit:
    marked = ", ".join(f"highlight(words, {at}, '{_BEGIN}', '{_END}')" for _, at in _COLUMNS)
    row = database.execute(f"SELECT {marked} FROM words WHERE words MATCH ? AND rowid = ?", (asked, number)).fetchone()  # noqa: S608 (our own words)
    best = [max((text or "").split("\n"), key=lambda line: line.count(_BEGIN)) for text in row]
    where, line = max(zip((name for name, _ in _COLUMNS), best, strict=True), key=lambda one: min(1, one[1].count(_BEGIN)))
    return Hit(read.stored(database, number), score, where, line.replace(_BEGIN, "").replace(_END, "").strip())
