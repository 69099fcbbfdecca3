"""Records as people hear of them: which incident each hangs below or was merged into, and what is said of it."""

from collections.abc import Mapping
from typing import Any

from pipeline.engine import lifecycle
from pipeline.model.incident import Record

Form = Mapping[str, Any]


class Roots:
    """The records at one moment, by thread. Near misses (vetoed incidents are that too) are no one's cause."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self.records = records
        self._threads = lifecycle.threads(records)
        self._found = {thread: self._climb(record) for thread, record in records.items()}
        self.forms: dict[str, Form] = {
            identity: record.public
            for record in records.values()
            if is_real(record)
            for identity in (record.thread, record.id, *record.aliases)
        }
        """Public forms of what may hang below something, by every id."""

    def of(self, thread: str) -> Record:
        """The record that speaks for another: the one it was merged into, the last of its causes, itself."""
        return self._found[thread]

    def all(self) -> list[Record]:
        """Every record that speaks for itself, in the order in which they became known."""
        found = [record for thread, record in self.records.items() if self._found[thread] is record]
        return sorted(found, key=lambda record: (record.opened, record.thread))

    def _climb(self, record: Record) -> Record:
        seen = {record.thread}
        while (above := self._above(record)) is not None and above.thread not in seen:
            seen.add(above.thread)
            record = above
        return record

    def _above(self, record: Record) -> Record | None:
        if record.merged_into is not None:
            return self.records.get(record.merged_into)
        cause = self.records.get(self._threads.get(record.incident.cause or "", ""))
        return cause if cause is not None and is_real(cause) else None


def is_real(record: Record) -> bool:
    """Whether it is an incident of its own that happened."""
    return record.merged_into is None and record.incident.status != "near_miss" and not record.incident.vetoed


def is_firing(record: Record) -> bool:
    """Whether it goes on."""
    return is_real(record) and record.incident.status == "firing"


def form(record: Record) -> Form:
    """What is said of a record; of one that turned out not to be an incident, that it is withdrawn."""
    return record.public if is_real(record) else withdrawn(record.public)


def withdrawn(public: Form) -> Form:
    """The form of an incident that nothing supports any more."""
    return {**public, "status": "resolved", "ended": public["ended"] or public["evidence"]["last"], "withdrawn": True}


def brief(public: Form) -> Form:
    """Enough of a form to say its end when its record is gone."""
    return {**public, "evidence": {**public["evidence"], "lines": []}, "entities": {}, "symptoms": []}


def ended(record: Record, now: int, within: int) -> bool:
    """Whether an incident ended at most so long (microseconds) before `now`."""
    at = record.incident.ended
    return at is not None and now - at < within
