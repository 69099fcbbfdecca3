"""The lives of incidents: what was made known of each, under which ids, and what has changed since.

The engine derives incidents anew from all rows; late evidence may move a start (and with it the id), join two incidents, or
take one away. The book holds on to what people have seen: an id given out stays as an alias, a joined incident is merged into
the earlier, and what nothing supports any more is withdrawn.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.model import public
from pipeline.model.incident import Incident, Record

Kind = Literal["opened", "revised", "refreshed", "merged", "withdrawn"]
KEPT = 2 * 3600 * 1_000_000
"""Microseconds for which an ended incident is held on to: evidence may revise it for an hour."""

_NUMBER = re.compile(r"\d+")
_Who = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """A record that differs from what was known of it. `refreshed`: nothing that people are told apart from exact counts."""

    kind: Kind
    record: Record


@dataclass(slots=True)
class Book:
    """The incidents that were made known and may still change, by thread."""

    records: dict[str, Record] = field(default_factory=dict)

    def update(self, incidents: Iterable[Incident], now: int) -> list[Change]:
        """Take in the incidents as they stand at `now` (microseconds); gives what has changed, in the order of the incidents."""
        known: dict[_Who, list[Record]] = defaultdict(list)
        held = [record for record in self.records.values() if record.merged_into is None]
        for record in held:
            known[_who(record.incident)].append(record)
        changes: list[Change] = []
        taken: set[str] = set()
        for incident in sorted(incidents, key=lambda found: (found.status == "near_miss", found.started, found.id)):
            same = [r for r in known[_who(incident)] if r.thread not in taken and _is_same(r, incident)]
            same.sort(key=lambda r: (r.opened, r.incident.started, r.thread))
            taken.update(r.thread for r in same)
            changes += self._keep(incident, same[0] if same else None, now)
            changes += [self._merge(joined, same[0], now) for joined in same[1:]]
        gone = [record for record in held if record.thread not in taken]
        changes += [self._withdraw(record, now) for record in gone if record.incident.status == "firing"]
        self._forget(gone, now)
        return changes

    def _keep(self, incident: Incident, before: Record | None, now: int) -> list[Change]:
        """The record of an incident, new or brought up to date."""
        if before is not None and before.incident == incident:
            return []
        form = public.as_dict(incident)
        if before is None:
            thread = incident.id if incident.id not in self.records else f"{incident.id}-{now}"
            return [self._put("opened", Record(thread, incident.id, (), 1, now, now, None, incident, form))]
        told = _told(before.incident) != _told(incident)
        aliases = before.aliases if before.id == incident.id else (*(a for a in before.aliases if a != incident.id), before.id)
        after = dataclasses.replace(
            before,
            id=incident.id,
            aliases=aliases,
            revision=before.revision + told,
            updated=now,
            incident=incident,
            public=form,
        )
        begins = before.incident.status == "near_miss" and incident.status == "firing"
        return [self._put("opened" if begins else "revised" if told else "refreshed", after)]

    def _merge(self, record: Record, into: Record, now: int) -> Change:
        return self._put(
            "merged", dataclasses.replace(record, merged_into=into.thread, revision=record.revision + 1, updated=now)
        )

    def _withdraw(self, record: Record, now: int) -> Change:
        """Nothing supports it any more: rows that came late spoke against it."""
        ended = dataclasses.replace(record.incident, status="resolved", ended=record.incident.last)
        form = {**public.as_dict(ended), "withdrawn": True}
        after = dataclasses.replace(record, revision=record.revision + 1, updated=now, incident=ended, public=form)
        return self._put("withdrawn", after)

    def _put(self, kind: Kind, record: Record) -> Change:
        self.records[record.thread] = record
        return Change(kind, record)

    def _forget(self, gone: Sequence[Record], now: int) -> None:
        """Let go of what the engine no longer derives: near misses at once, the rest when it is old."""
        for record in gone:
            old = (record.incident.ended or record.incident.last) < now - KEPT
            if old or record.incident.status == "near_miss":
                self.records.pop(record.thread, None)
        merged = [r for r in self.records.values() if r.merged_into is not None and r.updated < now - KEPT]
        for record in merged:
            del self.records[record.thread]


def _who(incident: Incident) -> _Who:
    return incident.cluster, incident.signature, tuple(sorted(incident.group.items()))


def _is_same(record: Record, incident: Incident) -> bool:
    """Whether an incident is the one that was known: by an id it ever had, else because they were going on at one time."""
    if incident.id in (record.id, *record.aliases):
        return True
    before = record.incident
    return before.started <= _end(incident) and incident.started <= _end(before)


def _end(incident: Incident) -> int:
    return max(incident.last, incident.ended or 0)


def _told(incident: Incident) -> tuple[Any, ...]:
    """What people are told, so that a change of it is worth a revision: counts, also those in the summary, and the end of a near
    miss, which is that of its evidence, only roughly while they grow.
    """
    summary = incident.summary if incident.status == "resolved" else _NUMBER.sub("#", incident.summary)
    rows = incident.rows if incident.status == "resolved" else incident.rows.bit_length()
    ended = None if incident.status == "near_miss" else incident.ended
    touched = tuple((key, tuple(sorted(values))) for key, values in sorted(incident.entities.items()))
    state = (incident.id, incident.status, incident.level, summary, incident.started, ended)
    place = (incident.cause, incident.symptoms, touched, incident.blind)
    return (*state, *place, rows, round(incident.confidence, 1), tuple(reason.rule for reason in incident.reasons))


def threads(records: Mapping[str, Record]) -> dict[str, str]:
    """Every id of the records to the thread it belongs to, merged ones to what they were merged into."""
    found: dict[str, str] = {}
    for record in records.values():
        target = record
        while target.merged_into is not None and target.merged_into in records:
            target = records[target.merged_into]
        found.update(dict.fromkeys((record.thread, record.id, *record.aliases), target.thread))
    return found
