"""Past incidents like one. Works inside a transaction that the caller holds."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping

from connectors import likeness
from connectors.likeness import Case, Trait
from connectors.stores.sqlite import read
from pipeline.contracts.store import Likeness

SOME = 300
"""Incidents looked at for each thing they share with the subject, the newest first."""


def similar(database: sqlite3.Connection, number: int, limit: int) -> list[Likeness]:
    """The best first."""
    subject = _cases(database, [number])[number]
    weight = likeness.weights(_counts(database, subject.traits), _total(database))
    others = _candidates(database, subject, weight) - _tree(database, number)
    cases = _cases(database, others)
    scores = {other: likeness.score(subject, case, weight) for other, case in cases.items()}
    best = sorted((other for other, score in scores.items() if score >= likeness.LEAST), key=lambda n: (-scores[n], -n))
    return [likeness.describe(subject, cases[n], weight, read.stored(database, n)) for n in best[:limit]]


def _total(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM incidents").fetchone()[0])


def _counts(database: sqlite3.Connection, traits: Iterable[Trait]) -> dict[Trait, int]:
    """How many incidents have each trait."""
    found: dict[Trait, int] = {}
    for trait in traits:
        kind, key, value = trait
        by_entity = "SELECT count(*) FROM entities WHERE value = ? AND key = ?"
        by_symptom = "SELECT count(*) FROM incidents WHERE signature = ? AND cause IS NOT NULL"
        row = database.execute(*((by_entity, (value, key)) if kind == "entity" else (by_symptom, (key,)))).fetchone()
        found[trait] = int(row[0])
    return found


def _candidates(database: sqlite3.Connection, subject: Case, weight: Mapping[Trait, float]) -> set[int]:
    """The newest of the same signature, anywhere and at each of its places, and the newest with each of its victims."""
    same = "SELECT number FROM incidents WHERE signature = ? AND real ORDER BY started DESC LIMIT ?"
    there = (
        "SELECT incident FROM entities JOIN incidents ON number = incident "
        "WHERE value = ? AND key = ? AND signature = ? AND real ORDER BY incident DESC LIMIT ?"
    )
    symptoms = "SELECT number FROM incidents WHERE signature = ? AND cause IS NOT NULL AND real ORDER BY started DESC LIMIT ?"
    found = {number for (number,) in database.execute(same, (subject.signature, SOME))}
    for kind, key, value in weight:
        if kind == "entity":
            found.update(number for (number,) in database.execute(there, (value, key, subject.signature, SOME)))
        else:
            victims = [number for (number,) in database.execute(symptoms, (key, SOME))]
            found.update(cause for _, cause in read.related(database, victims, "causes"))
    return found


def _tree(database: sqlite3.Connection, number: int) -> set[int]:
    """The incident with all that hangs together with it: the same disaster is not another one like it."""
    found, new = {number}, {number}
    while new:
        linked = read.related(database, new, "causes") + read.related(database, new, "symptoms")
        new = {other for _, other in linked} - found
        found |= new
    return found


def _cases(database: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, Case]:
    """What counts for likeness, of many incidents at once."""
    wanted = json.dumps(sorted(numbers))
    rows = database.execute(
        f"""
        SELECT number, signature, {read.LAST_VERDICT},
            (SELECT signature FROM ids JOIN incidents AS above ON above.number = ids.incident WHERE ids.id = incidents.cause)
        FROM incidents WHERE number IN (SELECT value FROM json_each(?))""",  # noqa: S608 (our own words)
        (wanted,),
    ).fetchall()
    traits: dict[int, set[Trait]] = defaultdict(set)
    touched = "SELECT incident, key, value FROM entities WHERE incident IN (SELECT value FROM json_each(?))"
    for number, key, value in database.execute(touched, (wanted,)):
        traits[number].add(("entity", key, value))
    below = read.related(database, (row[0] for row in rows), "symptoms")
    signatures = _signatures(database, {symptom for _, symptom in below})
    for number, symptom in below:
        traits[number].add(("symptom", signatures[symptom], ""))
    return {number: Case(signature, frozenset(traits[number]), verdict, above) for number, signature, verdict, above in rows}


def _signatures(database: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, str]:
    wanted = json.dumps(sorted(numbers))
    return dict(
        database.execute("SELECT number, signature FROM incidents WHERE number IN (SELECT value FROM json_each(?))", (wanted,))
    )
