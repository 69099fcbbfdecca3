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
    # The plus keeps SQLite from asking the index once for every incident of the filter.
    chosen = f"words MATCH ? AND +rowid IN (SELECT number FROM incidents WHERE {where})"  # noqa: S608 (our own words)
    newest = f"SELECT rowid FROM words WHERE {chosen} ORDER BY rowid DESC LIMIT 1 OFFSET ?"  # noqa: S608 (our own words)
    edge = database.execute(newest, (asked, *values, NEWEST - 1)).fetchone()
    marked = ", ".join(f"highlight(words, {at}, '{_BEGIN}', '{_END}')" for _, at in _COLUMNS)
    ranked = f"""
        SELECT rowid, -rank, {marked} FROM words
        WHERE {chosen} AND rank MATCH 'bm25({_WEIGHTS})' AND rowid >= ? ORDER BY rank LIMIT ?"""  # noqa: S608 (our own words)
    rows = database.execute(ranked, (asked, *values, edge[0] if edge else 0, query.limit)).fetchall()
    return [_hit(database, number, score, texts) for number, score, *texts in rows]


def _expression(asked: Sequence[Term]) -> str:
    """Every term as a string of FTS5: nothing in it is an operator, several words in it are a phrase."""
    return " AND ".join('"' + term.text.replace('"', '""') + '"' + "*" * term.prefix for term in asked)


def _hit(database: sqlite3.Connection, number: int, score: float, texts: Sequence[str | None]) -> Hit:
    """The incident with the line that shows most of what was asked, in the first column that shows any."""
    best = [max((text or "").split("\n"), key=lambda line: line.count(_BEGIN)) for text in texts]
    where, line = max(zip((name for name, _ in _COLUMNS), best, strict=True), key=lambda one: min(1, one[1].count(_BEGIN)))
    return Hit(read.stored(database, number), score, where, line.replace(_BEGIN, "").replace(_END, "").strip())
