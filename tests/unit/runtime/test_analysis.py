"""The engine in time: when it is asked, and how time goes on where nothing comes."""

from pathlib import Path

import pytest

from pipeline import parsers
from pipeline.engine.routing import Names
from pipeline.errors import StateError
from pipeline.model.stream import RawBatch, Stream
from pipeline.runtime.analysis import Analysis, Pace, Site
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet

JOURNAL = Stream("journal", "journald", node="n1")
WALL = 1_795_000_000.0
RULE = """
name: full
title: Full
logsource: {product: linux, service: kernel}
detection: {s: {message|contains: table full}, condition: s}
level: informational
---
title: Table full
id: 5a3f0e4e-91f0-4d3c-8b64-2f8d3a0c1f7a
version: 1
status: test
layer: node
what: W
cause: C
impact: I
first_aid: [do]
fix: [fix]
references: [https://example.org]
false_positives: [none]
correlation: {type: event_count, rules: [full], group-by: [k8s.node.name], timespan: 1m, condition: {gte: 1}}
confidence: 0.9
alert: {keep_firing_for: 5m, annotations: {summary: 'full'}}
level: high
"""


def ruleset(folder: Path, text: str = RULE) -> RuleSet:
    place = folder / "node" / "table-full"
    place.mkdir(parents=True, exist_ok=True)
    (place / "rule.yaml").write_text(text)
    return load.load(parsers.vocabulary(), [folder], cache=folder)


def line(seconds: float) -> RawBatch:
    record = '{"__REALTIME_TIMESTAMP":"%d","_TRANSPORT":"kernel","_HOSTNAME":"n1","MESSAGE":"nf_conntrack: table full"}\n'
    return RawBatch(JOURNAL, (record % round((WALL + seconds) * 1e6)).encode())


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    return Analysis(Site(ruleset(tmp_path), "lab", Names()))


def test_an_incident_ends_though_nothing_comes_any_more(analysis: Analysis) -> None:
    """The present is the newest event time and what has passed since; the clock on the wall has no say."""
    analysis.feed([line(0)], now=50, wall=WALL)
    [opened] = analysis.look(50, live=True)
    assert opened.record.incident.status == "firing"
    assert analysis.look(50 + 240, live=True) == []
    [ended] = analysis.look(50 + 301, live=True)
    assert ended.record.incident.status == "resolved"


def test_without_live_sources_time_stands_still(analysis: Analysis) -> None:
    """The silence of a recording says nothing."""
    analysis.feed([line(0)], now=50, wall=WALL)
    analysis.look(50, live=False)
    assert analysis.look(5000, live=False) == []


@pytest.mark.parametrize(("wall", "status"), [(WALL + 400, "resolved"), (WALL - 3600, "firing")])
def test_a_pause_of_the_process_counts_unless_the_clock_was_set_back(tmp_path: Path, wall: float, status: str) -> None:
    """What has passed while nobody read is known by the clock on the wall alone; set back, it counts as nothing."""
    rules = ruleset(tmp_path)
    before = Analysis(Site(rules, "lab", Names()))
    before.feed([line(0)], now=50, wall=WALL)
    before.look(50, live=True)
    after = Analysis(Site(rules, "lab", Names()))
    after.restore(before.snapshot(), now=7, wall=wall)
    after.look(7, live=True)
    [record] = after.memory.book.records.values()
    assert record.incident.status == status


def test_a_state_of_other_rules_is_refused(tmp_path: Path) -> None:
    """What is known of past incidents is taken all the same."""
    before = Analysis(Site(ruleset(tmp_path / "a"), "lab", Names()))
    before.feed([line(0)], now=50, wall=WALL)
    before.look(50, live=True)
    after = Analysis(Site(ruleset(tmp_path / "b", RULE.replace("1m", "2m")), "lab", Names()))
    with pytest.raises(StateError, match="other rules"):
        after.restore(before.snapshot(), now=7, wall=WALL)
    assert len(after.memory.book.records) == 1
    assert after.engine.observed() == 0


def test_a_state_that_cannot_be_read_is_refused(analysis: Analysis) -> None:
    """It may be of another version."""
    with pytest.raises(StateError, match="another version"):
        analysis.restore({"engine": b"no pickle", "memory": b""}, now=0, wall=WALL)


def test_rows_that_a_rule_may_want_are_looked_at_at_once() -> None:
    """Others when a tenth of the time has been spent on looking; without rows ever more seldom; in a backlog now and then."""
    pace = Pace(last=100, cost=1, fresh=True)
    assert [pace.due(101.9, urgent=True, backlog=False), pace.due(102.1, urgent=True, backlog=False)] == [False, True]
    assert [pace.due(108, urgent=False, backlog=False), pace.due(109.1, urgent=False, backlog=False)] == [False, True]
    assert [pace.due(109, urgent=True, backlog=True), pace.due(131, urgent=True, backlog=True)] == [False, True]
    waits = []
    for _ in range(6):
        waits.append(pace.idle)
        pace.asked(0, 0)
    assert waits == [5, 5, 10, 20, 40, 60]
