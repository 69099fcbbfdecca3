"""What the service says of itself: one plain value for `headwater status`, the health check and the metrics.

It is made by the thread that reads, between two turns, when somebody asks: nothing is locked, and nobody pays while no one asks.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import _version
from pipeline.model.public import rfc3339

if TYPE_CHECKING:
    from pipeline.runtime.inputs import Input
    from pipeline.runtime.service import Service

CAPS = ("final_incidents_dropped", "incidents_capped", "samples_dropped", "rows_folded", "parts_cut", "too_late")
"""Counters of what a cap cost."""
_UNREAD = ("unparsed", "plain", "unknown")
HALTED = 30.0
"""Seconds without a turn after which the service counts as hanging."""

Report = Mapping[str, Any]


class Desk:
    """Where other threads ask for a report."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._given = threading.Condition()
        self._report: Report | None = None

    def ask(self, seconds: float) -> Report | None:
        """A report of now; None where the service does not answer in time."""
        with self._given:
            self._report = None
            self._asked.set()
            self._given.wait_for(lambda: self._report is not None, seconds)
            return self._report

    def wanted(self) -> bool:
        """Whether anybody asks."""
        return self._asked.is_set()

    def give(self, report: Report) -> None:
        """Answer everybody."""
        with self._given:
            self._asked.clear()
            self._report = report
            self._given.notify_all()


def of(service: "Service", now: float) -> Report:
    """The state of a service; `now` in monotonic seconds."""
    state = service.analysis.engine.state
    counts = state.counts
    log = service.inputs.log_status()
    return {
        "version": _version.__version__,
        "pid": os.getpid(),
        "cluster": service.parts.site.cluster,
        "ready": service.caught_up,
        "event_time": rfc3339(service.analysis.memory.now or None),
        "watermark": rfc3339(state.clocks.watermark() if state.clocks.newest() else None),
        "sources": [
            _source(service, entry, now) for entry in service.inputs.inputs if entry.source is not service.parts.selfcheck
        ],
        "log": {"bytes": log.size, "oldest_seconds": log.oldest, "writable": log.writable, "error": log.text},
        "lines": _by_label(counts, "lines"),
        "understood": _by_label(counts, "rows"),
        "unparsed": _unparsed(counts),
        "sampled": _by_label(counts, "sampled"),
        "unknown": _by_label(counts, "unknown"),
        "examples": {label: text for (metric, label), text in state.samples_of_trouble.items() if metric in _UNREAD},
        "rules": _rules(service),
        "incidents": Counter(record.incident.status for record in service.analysis.memory.book.records.values()),
        "store": {"unsaved": len(service.analysis.memory.unsaved)},
        "receivers": {name: _receiver(status) for name, status in service.outbox.status().items()},
        "checkpoint": _checkpoint(service, now),
        "caps": _caps(service, counts),
        "held_bytes": sum(len(batch.data) for batch in service.order.held),
        "troubles": [
            {"at": who, "kind": kind, "count": number, "last": service.troubles.last[who, kind]}
            for (who, kind), number in sorted(service.troubles.counts.items())
        ],
    }


def healthy(service: "Service") -> bool:
    """Whether turns go round."""
    return time.monotonic() - service.turned < HALTED


def _source(service: "Service", entry: "Input", now: float) -> dict[str, Any]:
    status = service.inputs.status(entry)
    return {
        "name": entry.name,
        "type": entry.kind,
        "alive": status.alive and not entry.error,
        "finished": entry.source.finished(),
        "streams": status.streams,
        "unread_bytes": status.waiting,
        "bytes": entry.bytes,
        "batches": entry.batches,
        "seconds_since_last": round(now - entry.last_read, 3) if entry.batches else None,
        "last": rfc3339(entry.newest or None),
        "lag_seconds": round(entry.lag, 3) if entry.batches and entry.source.live else None,
        "bytes_per_second": round(entry.rate(now)),
        "error": entry.error or status.text,
    }


def _rules(service: "Service") -> dict[str, Any]:
    engine = service.analysis.engine
    counts = engine.state.counts
    costs = sorted(engine.costs.items(), key=lambda item: -item[1])
    return {
        "signatures": len(service.parts.site.ruleset.signatures),
        "looks": service.analysis.looks,
        "look_seconds": round(service.analysis.pace.cost, 6),
        "seconds": {name: round(cost, 6) for name, cost in costs},
        "candidates": dict(sorted(engine.candidates().items())),
        "rows": {name: len(numbers) for name, numbers in sorted(engine.state.matched.items()) if len(numbers)},
        "errors": _by_label(counts, "rule_errors"),
        "examples": {name: text for (metric, name), text in engine.state.samples_of_trouble.items() if metric == "rule_errors"},
    }


def _checkpoint(service: "Service", now: float) -> dict[str, Any]:
    saved = service.saver.last
    return {
        "seconds_ago": round(now - saved.at, 3) if saved.at else None,
        "seconds": round(saved.cost, 6),
        "still_seconds": round(saved.still, 6),
        "bytes": saved.size,
        "failed": saved.failed,
        "waiting_intents": service.waiting_intents,
    }


def _receiver(status: Any) -> dict[str, Any]:
    return {name: getattr(status, name) for name in status.__dataclass_fields__}


def _caps(service: "Service", counts: Counter[tuple[str, str]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (metric, _), number in counts.items():
        if metric in CAPS:
            found[metric] += number
    found["order_released_bytes"] = service.order.released
    return {name: number for name, number in sorted(found.items()) if number}


def _unparsed(counts: Counter[tuple[str, str]]) -> dict[str, int]:
    """Lines that a format did not understand; container logs of no known format are ordinary text."""
    found = Counter(_by_label(counts, "unparsed"))
    found.update({label: number for label, number in _by_label(counts, "plain").items() if label != "text"})
    return dict(found)


def _by_label(counts: Counter[tuple[str, str]], metric: str) -> dict[str, int]:
    return {label: number for (name, label), number in sorted(counts.items()) if name == metric}
