"""Records for tests of stores: whole replays, and single incidents made by hand."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import parsers
from pipeline.model import public
from pipeline.model.incident import Cell, Incident, Line, Record, Share
from pipeline.runtime import replay
from pipeline.signatures import load

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = round(datetime(2026, 11, 23, 4, 0, tzinfo=UTC).timestamp()) * SECOND
CAPTURES = Path(__file__).resolve().parent.parent / "captures"


def record(incident: Incident, **changes: Any) -> Record:
    """The first revision of an incident."""
    made = Record(incident.id, incident.id, (), 1, incident.detected, incident.detected, None, incident, public.as_dict(incident))
    return dataclasses.replace(made, **changes)


def again(before: Record, incident: Incident, **changes: Any) -> Record:
    """The next revision of a record."""
    after = dataclasses.replace(
        before, revision=before.revision + 1, updated=before.updated + SECOND, incident=incident, public=public.as_dict(incident)
    )
    return dataclasses.replace(after, **changes)


@functools.cache
def replayed(capture: str) -> tuple[Record, ...]:
    """What a recording ends with."""
    found = replay.run(CAPTURES / capture, load.load(parsers.vocabulary()))
    return tuple(record(incident) for incident in found.incidents)


def incident(identity: str, *, at: int = START, lines: Iterable[str] = (), below: Iterable[str] = (), **changes: Any) -> Incident:
    """An incident that lasts a minute, on node-b by default. `below` are the ids of its causes, the first the main one."""
    node = {"k8s.node.name": "node-b"}
    causes = tuple(below)
    made = Incident(
        id=identity, signature="conntrack-table-full", title="Connection tracking table full", layer="node", level="high",
        status="resolved", cluster="lab", group=node, started=at, detected=at, last=at + 60 * SECOND, ended=at + 60 * SECOND, rows=9,
        counts={"full_line": 9}, titles={"full_line": "The kernel says so"}, entities={key: {value: 9} for key, value in node.items()},
        cells=(Cell(at // SECOND, "full_line", (), 9),), rest=0,
        lines=tuple(Line(at + n, "kernel", "full_line", f"nodes/node-b/kmsg:{n}", text) for n, text in enumerate(lines)),
        shown={}, confidence=0.8, summary="New connections are dropped", cause=causes[0] if causes else None,
        causes=tuple(Share(cause, 1 / len(causes)) for cause in causes),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def on(**names: str) -> Mapping[str, Any]:
    """The group and entities of an incident that is elsewhere: `node`, `namespace`, `workload`, `zone`."""
    keys = {
        "node": "k8s.node.name", "namespace": "k8s.namespace.name", "workload": "k8s.workload.name",
        "zone": "cloud.availability_zone",
    }  # fmt: skip
    group = {keys[name]: value for name, value in names.items()}
    return {"group": group, "entities": {key: {value: 9} for key, value in group.items()}}
