"""Memory stays bounded over hours, and what is forgotten stays part of the incidents."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.engine import retention
from pipeline.engine.engine import Engine
from pipeline.engine.state import Limits
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch, Stream
from pipeline.signatures.ruleset import RuleSet
from tests.unit.engine.rulesets import compiled

BOOT = datetime(2026, 3, 1, tzinfo=UTC)
RULES = """
name: full_line
title: The kernel reports a full table
logsource: {product: linux, service: kernel}
detection: {s: {message|contains: table full}, condition: s}
---
title: Table full
id: 6c8d1f1c-0000-4000-8000-000000000001
version: 1
status: test
layer: node
level: medium
what: w
cause: c
impact: i
first_aid: [f]
fix: [f]
false_positives: [f]
references: ['https://example.com']
confidence: 0.7
correlation: {type: event_count, rules: [full_line], group-by: [k8s.node.name], timespan: 1m, condition: {gte: 2}}
alert: {annotations: {summary: full}}
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> RuleSet:
    """One signature over kernel lines."""
    return compiled(tmp_path, {"node/table-full": RULES})


def lines(node: str, seconds: list[int], text: str = "nf_conntrack: table full, dropping packet") -> RawBatch:
    """Kernel records of a node at so many seconds after its boot."""
    stream = Stream(f"{node}/kmsg", "kmsg", "kernel", node=node, boot_time=BOOT)
    data = "".join(f"4,{at},{at * 1_000_000},-;{text}\n" for at in seconds)
    return RawBatch(stream, data.encode(), seconds[0] * 1000)


def feed(engine: Engine, hours: int, *, step: int = 600) -> None:
    """Feed hours of two nodes: n1 reports every 40 s throughout, n2 for ten minutes in the first hour."""
    for begin in range(0, hours * 3600, step):
        engine.feed([lines("n1", list(range(begin, begin + step, 40)))])
        text = "eth0: link is up" if begin != 1200 else "nf_conntrack: table full"
        engine.feed([lines("n2", list(range(begin + 5, begin + step, 30)), text)])
        engine.evidence()  # what waits is matched when somebody asks


def told(incidents: list[Incident]) -> list[tuple[object, ...]]:
    """What must be equal."""
    return [
        (i.id, i.group["k8s.node.name"], i.started, i.detected, i.last, i.ended, i.rows, i.status, i.cells) for i in incidents
    ]


def test_hours_later_an_incident_is_what_it_would_be_with_all_its_rows(ruleset: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An incident that goes on for six hours, and one that ended long ago, are the same with and without their old rows."""
    forgetful = Engine(ruleset)
    feed(forgetful, 6)
    monkeypatch.setattr(retention, "due", lambda _: None)
    complete = Engine(ruleset)
    feed(complete, 6)
    for engine in (forgetful, complete):
        engine.finish()
    assert forgetful.state.rows is not None
    assert complete.state.rows is not None
    assert len(forgetful.state.rows) < len(complete.state.rows) * 0.6
    assert told(forgetful.incidents()) == told(complete.incidents())


def test_the_state_does_not_grow_with_time(ruleset: RuleSet) -> None:
    """After twelve hours the state holds as many rows as after six."""
    sizes = []
    for hours in (6, 12):
        engine = Engine(ruleset)
        feed(engine, hours)
        assert engine.state.rows is not None
        sizes.append(len(engine.state.rows))
    assert sizes[1] <= sizes[0] * 1.1


def test_a_crowd_of_rows_is_folded_and_counted(ruleset: RuleSet) -> None:
    """Beyond the cap rows are folded to one a second; the incident still counts them all, and a counter says so."""
    engine = Engine(ruleset, limits=Limits(rows_per_detection=500))
    for begin in range(0, 60, 10):
        stream = Stream("n1/kmsg", "kmsg", "kernel", node="n1", boot_time=BOOT)
        records = [f"4,{n},{(begin * 1000 + n) * 1000},-;nf_conntrack: table full, dropping packet\n" for n in range(10_000)]
        engine.feed([RawBatch(stream, "".join(records).encode(), begin * 10_000_000)])
        engine.evidence()
    engine.finish()
    assert engine.state.rows is not None
    assert len(engine.state.rows) <= 1000
    [incident] = engine.incidents()
    assert incident.rows == 60_000
    assert engine.state.counts["rows_folded", "full_line"] > 0


def test_a_row_older_than_what_was_forgotten_is_counted(ruleset: RuleSet) -> None:
    """Evidence that is hours late is not used, and not silently."""
    engine = Engine(ruleset)
    feed(engine, 6)
    engine.feed([lines("n1", [60, 70, 80])])
    engine.evidence()
    assert engine.state.counts["too_late", "rows"] == 3
    assert timedelta(hours=1) < timedelta(microseconds=engine.state.clocks.newest() - engine.state.forgotten) < timedelta(hours=3)
