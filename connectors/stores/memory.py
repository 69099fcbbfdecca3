"""Incidents in memory, gone with the process: for trying things out, and the store contract in its plainest words.

Everything is looked at one by one, so it is for hundreds of incidents, not for many thousands.
"""

import dataclasses
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from connectors import likeness
from connectors.terms import Term, terms
from pipeline.contracts import Context
from pipeline.contracts.store import Feedback, Hit, Likeness, Query, Silence, Statistic, Stored
from pipeline.errors import StoreError
from pipeline.model import public
from pipeline.model.incident import Record

SHORTEST = 6
"""Letters that the beginning of an id must have to stand for it."""
_WEIGHT = {"title": 10, "note": 8, "entity": 4, "evidence": 1}


class Settings(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def create(settings: Settings, context: Context) -> "Memory":
    """An empty store."""
    return Memory()


class Memory:
    """Implements `pipeline.contracts.store.Store`."""

    def __init__(self) -> None:
        self._kept: dict[str, Stored] = {}
        self._updated: dict[str, int] = {}
        self._silences: dict[str, Silence] = {}

    def save(self, records: Sequence[Record], now: int) -> None:
        """Keep records."""
        for record in records:
            before = self._kept.get(record.thread)
            revisions = before.revisions if before else ()
            if record.revision not in [revision for revision, _, _ in revisions]:
                revisions = (*revisions, (record.revision, record.updated, _without_lines(record.public)))
            self._updated[record.thread] = record.updated
            self._kept[record.thread] = Stored(
                record.thread, record.id, record.aliases, record.merged_into, record.revision, record.public, revisions,
                before.feedback if before else (),
            )  # fmt: skip

    def incident(self, identity: str) -> Stored | None:
        """The incident of an id, with its revisions."""
        present = [found for found in self._kept.values() if found.id == identity]
        exact = present or [found for found in self._kept.values() if identity in _ids(found)]
        if exact or len(identity) < SHORTEST:
            return exact[0] if exact else None
        begun = [found for found in self._kept.values() if any(known.startswith(identity) for known in _ids(found))]
        return begun[0] if len(begun) == 1 else None

    def incidents(self, query: Query) -> Sequence[Stored]:
        """Incidents by filters, newest first."""
        found = sorted((one for one in self._kept.values() if self._meets(one, query)), key=_started, reverse=True)
        return [dataclasses.replace(one, revisions=()) for one in found[: query.limit]]

    def search(self, text: str, query: Query) -> Sequence[Hit]:
        """Incidents by text, best first."""
        asked = terms(text)
        found = [hit for one in self.incidents(dataclasses.replace(query, limit=len(self._kept))) if (hit := _hit(one, asked))]
        return sorted(found, key=lambda hit: -hit.score)[: query.limit]

    def similar(self, identity: str, limit: int = 10) -> Sequence[Likeness]:
        """Past incidents like one, best first."""
        of = self._must(identity)
        tree = self._tree(of)
        cases = {one.thread: self._case(one) for one in self._kept.values()}
        counts = Counter(trait for case in cases.values() for trait in case.traits)
        weight = likeness.weights({trait: counts[trait] for trait in cases[of.thread].traits}, len(cases))
        others = [one for one in self._kept.values() if _real(one) and one.thread not in tree]
        found = [
            likeness.describe(cases[of.thread], cases[one.thread], weight, dataclasses.replace(one, revisions=()))
            for one in sorted(others, key=_started, reverse=True)
        ]
        return sorted((one for one in found if one.score >= likeness.LEAST), key=lambda one: -one.score)[:limit]

    def add_feedback(self, feedback: Feedback) -> None:
        """Keep what a person said. Raises StoreError for an incident that is none."""
        found = self._must(feedback.thread)
        said = dataclasses.replace(feedback, thread=found.thread)
        self._kept[found.thread] = dataclasses.replace(found, feedback=(*found.feedback, said))

    def statistics(self, query: Query) -> Sequence[Statistic]:
        """Per signature and what it struck, most frequent first."""
        groups: dict[tuple[str, str], list[Stored]] = defaultdict(list)
        for one in self.incidents(dataclasses.replace(query, roots=True, limit=len(self._kept))):
            if _real(one):
                groups[one.incident["signature"], public.place(one.incident)].append(one)
        found = [_statistic(signature, place, group) for (signature, place), group in groups.items()]
        return sorted(found, key=lambda one: (-one.count, -one.last, one.signature, one.entity))[: query.limit]

    def silences(self, now: int) -> Sequence[Silence]:
        """The silences that have not ended."""
        return sorted((one for one in self._silences.values() if one.ends > now), key=lambda one: (one.starts, one.id))

    def put_silence(self, silence: Silence) -> None:
        """Keep a silence, new or changed."""
        self._silences[silence.id] = silence

    def retain(self, now: int, *, age: float | None, size: int | None) -> int:
        """Drop ended incidents that are too old, then the oldest until the rest is small enough."""
        ended = sorted((end, thread) for thread in self._kept if (end := self._end(thread)) is not None and end < now)
        dropped, left = 0, self.size()
        for end, thread in ended:
            if (age is not None and end < now - age * 1_000_000) or (size is not None and left > size):
                left -= _size(self._kept.pop(thread))
                dropped += 1
        return dropped

    def size(self) -> int:
        """About what the incidents take as text."""
        return sum(map(_size, self._kept.values()))

    def close(self) -> None:
        """There is nothing to let go."""

    def _must(self, identity: str) -> Stored:
        found = self.incident(identity)
        if found is None:
            raise StoreError(f"looking for the incident {identity}: the store in memory has none of this id")
        return found

    def _end(self, thread: str) -> int | None:
        """When it was over, microseconds; None while it goes on."""
        one = self._kept[thread]
        if one.merged_into is not None:
            return self._updated[thread]
        if one.incident["status"] == "near_miss":
            return public.microseconds(one.incident["evidence"]["last"])
        return public.microseconds(one.incident["ended"]) if one.incident["ended"] else None

    def _meets(self, one: Stored, query: Query) -> bool:
        form = one.incident
        end = self._end(one.thread)
        return (
            one.merged_into is None
            and (query.since is None or end is None or end >= query.since)
            and (query.until is None or _started(one) <= query.until)
            and all(
                getattr(query, name) in (None, form[name])
                for name in ("signature", "layer", "level", "status")
            )
            and (not query.roots or (form["cause"] is None and form["status"] != "near_miss"))
            and (query.entity is None or _touches(form, query.entity))
        )  # fmt: skip

    def _case(self, one: Stored) -> likeness.Case:
        symptoms = frozenset(other.incident["signature"] for other in self._below(one))
        above = self._causes(one)
        below = next((cause.incident["signature"] for cause in above if cause.id == one.incident["cause"]), None)
        verdict = one.feedback[-1].verdict if one.feedback else None
        return likeness.Case(one.incident["signature"], likeness.traits(_entities(one.incident), symptoms), verdict, below)

    def _below(self, one: Stored) -> list[Stored]:
        return [other for other in self._kept.values() if one in self._causes(other)]

    def _causes(self, one: Stored) -> list[Stored]:
        if one.incident["cause"] is None:
            return []
        return [found for cause in one.incident["causes"] if (found := self.incident(cause["id"]))]

    def _tree(self, one: Stored) -> set[str]:
        """The threads of all that hangs together with an incident."""
        found, new = {one.thread}, [one]
        while new:
            linked = {other.thread: other for each in new for other in (*self._below(each), *self._causes(each))}
            new = [other for thread, other in linked.items() if thread not in found]
            found.update(linked)
        return found


def _size(one: Stored) -> int:
    return len(json.dumps(one.incident))


def _ids(one: Stored) -> tuple[str, ...]:
    return (one.id, one.thread, *one.aliases)


def _started(one: Stored) -> int:
    return public.microseconds(one.incident["started"])


def _real(one: Stored) -> bool:
    return one.merged_into is None and one.incident["status"] != "near_miss" and not one.incident.get("withdrawn")


def _without_lines(form: Mapping[str, Any]) -> dict[str, Any]:
    return {**form, "evidence": {**form["evidence"], "lines": []}}


def _entities(form: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What its rows touched, and what it is about."""
    merged = {key: dict(values) for key, values in form["entities"].items()}
    for key, value in form["group"].items():
        merged.setdefault(key, {}).setdefault(value, 0)
    return merged


def _touches(form: Mapping[str, Any], entity: str) -> bool:
    """`value`, `key=value`, or `namespace/name`."""
    touched = _entities(form)
    key, given, value = entity.partition("=")
    if given:
        return value in touched.get(key, {})
    names = {name for values in touched.values() for name in values}
    namespace, _, name = entity.partition("/")
    return entity in names or (namespace in touched.get("k8s.namespace.name", {}) and name in names)


def _statistic(signature: str, place: str, group: Sequence[Stored]) -> Statistic:
    spans = []
    for one in group:
        end = one.incident["ended"] or one.incident["evidence"]["last"]
        spans.append(max(0, public.microseconds(end) - _started(one)))
    said = Counter(one.feedback[-1].verdict for one in group if one.feedback)
    last = max(_started(one) for one in group)
    return Statistic(signature, place, len(group), sum(spans) / 1e6, last, said["right"], said["wrong"])


def _lines(one: Stored) -> Iterator[tuple[str, str]]:
    """Everything that is searched, with where it stands."""
    form = one.incident
    yield from (("title", text) for text in (form["title"], form["summary"], form["signature"]))
    yield from (("note", f"{said.note} {said.cause or ''}") for said in one.feedback)
    yield "entity", public.place(form)
    yield from (("entity", value) for values in _entities(form).values() for value in values)
    yield from (("evidence", line["text"]) for line in form["evidence"]["lines"])


def _words(text: str) -> str:
    """The words of a text, without case and accents, each between blanks."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(f" {word}" for word in re.findall(r"[^\W_]+", plain.lower())) + " "


def _hit(one: Stored, asked: Sequence[Term]) -> Hit | None:
    """The hit with the line that shows most of what was asked, where all of it is found somewhere."""
    wanted = [_words(term.text)[: -1 if term.prefix else None] for term in asked]
    lines = [(where, text, {want for want in wanted if want in _words(text)}) for where, text in _lines(one)]
    found = {want for _, _, wants in lines for want in wants}
    if not wanted or found != set(wanted):
        return None
    where, text, _ = max((line for line in lines if line[2]), key=lambda line: (_WEIGHT[line[0]], len(line[2])))
    return Hit(
        dataclasses.replace(one, revisions=()), float(sum(_WEIGHT[at] * len(wants) for at, _, wants in lines)), where, text
    )
