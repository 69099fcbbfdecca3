"""However rows are cut, shuffled and interrupted, the engine finds the same incidents, and those of the naive evaluator."""

import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.engine import Engine
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch
from pipeline.runtime.merge import JITTER, Record, batches_of
from pipeline.signatures.ruleset import RuleSet
from tests.components import drawn, naive
from tests.components.drawn import NODES, ZERO, Case, Correlation, Drawn, Line, Step, compiled
from tests.components.naive import SECOND, Naive

EXAMPLES = int(os.environ.get("HEADWATER_EXAMPLES") or settings().max_examples // 6)
"""Per kind of rule; one is fed in three ways and costs about 0.2 s. The environment variable is for long searches."""

# Ways to feed ------------------------------------------------------------------------------------------------------------------


def records(found: Sequence[Line]) -> list[Record]:
    """The lines as records with their byte offset; `key` is the time."""
    offsets: Counter[str] = Counter()
    made = []
    for line in found:
        for part in line.text.split("\n"):
            data = part.encode() + b"\n"
            made.append(Record(line.row.t, line.stream, offsets[line.stream.id], data))
            offsets[line.stream.id] += len(data)
    return made


def late(given_: Sequence[Record], draw: random.Random) -> list[Record]:
    """The records, each up to `JITTER` late; parts of one message (equal stream and time) stay together."""
    jitter = {(record.stream.id, record.key): draw.randrange(JITTER) for record in given_}
    return sorted(given_, key=lambda record: (record.key + jitter[record.stream.id, record.key], record.stream.id))


def at_once(ruleset: RuleSet, given_: Sequence[Record], draw: random.Random) -> Engine:
    """Every stream as one batch."""
    engine = Engine(ruleset, cluster="lab")
    streams = {record.stream.id: record.stream for record in given_}
    whole = {name: b"".join(record.data for record in given_ if record.stream.id == name) for name in streams}
    engine.feed([RawBatch(stream, whole[name]) for name, stream in streams.items()])
    return engine


def in_pieces(ruleset: RuleSet, given_: Sequence[Record], draw: random.Random) -> Engine:
    """In pieces of random length; asked in between."""
    engine = Engine(ruleset, cluster="lab")
    for piece in pieces(given_, draw):
        engine.feed(batches_of(piece))
        if draw.random() < 0.3:
            engine.incidents()
    return engine


def shuffled(ruleset: RuleSet, given_: Sequence[Record], draw: random.Random) -> Engine:
    """Every record up to `JITTER` late, and the engine stopped and restored now and then."""
    engine = Engine(ruleset, cluster="lab")
    for piece in pieces(late(given_, draw), draw):
        engine.feed(batches_of(piece))
        if draw.random() < 0.4:
            engine.incidents()
        if draw.random() < 0.4:
            engine = Engine.restore(engine.snapshot(), ruleset)
    return engine


def pieces(given_: Sequence[Record], draw: random.Random) -> Iterator[Sequence[Record]]:
    """The records in up to eight pieces."""
    cuts = sorted({0, len(given_), *(draw.randrange(len(given_)) for _ in range(draw.randint(1, 7)))})
    for begin, end in itertools.pairwise(cuts):
        yield given_[begin:end]


def found_by_engine(ruleset: RuleSet, example: Case) -> list[Incident]:
    """The incidents, which must be the same whichever way the rows came."""
    draw = random.Random(example.seed)  # noqa: S311 (hypothesis gives the seed)
    results = []
    for way in (at_once, in_pieces, shuffled):
        engine = way(ruleset, records(example.lines), draw)
        engine.finish()
        results.append(sorted(engine.incidents(), key=lambda incident: (incident.status, incident.started, incident.id)))
        assert results[-1] == results[0], way.__name__
    return [incident for incident in results[0] if incident.status != "near_miss"]


# Comparison --------------------------------------------------------------------------------------------------------------------


def told(incident: Incident, keys: Sequence[str]) -> tuple[Any, ...]:
    """An incident of the engine, as far as the naive evaluator knows it; times in microseconds after the start."""
    seconds: Counter[int] = Counter()
    for cell in incident.cells:
        seconds[cell.second - ZERO] += cell.weight
    group = tuple(incident.group[key] for key in keys)
    times = incident.started - ZERO, incident.detected - ZERO, incident.last - ZERO
    return group, *times, incident.status, dict(incident.counts), sorted(seconds.items())


def expected(found: naive.Found) -> tuple[Any, ...]:
    """The same of an incident of the naive evaluator; a row that two rules match is one in the evidence table."""
    seconds: Counter[int] = Counter()
    for row in {row.id: row for _, row in found.rows}.values():
        seconds[row.t // SECOND * SECOND - ZERO] += row.weight
    times = found.started - ZERO, found.detected - ZERO, found.last - ZERO
    return found.group, *times, found.status, found.counts(), sorted(seconds.items())


def agree(folder: Path, example: Case) -> None:
    """Assert that engine and naive evaluator find the same."""
    rows, correlation = [line.row for line in example.lines], example.rules["it"]
    evaluator = Naive(example.rules, rows, end=rows[-1].t + SECOND, begun=ZERO)
    wanted = sorted(map(expected, evaluator.incidents(correlation, example.alert)), key=repr)
    ruleset = compiled(folder, example.rules, example.alert)
    keys = correlation.get("group-by", [])
    found = sorted((told(incident, keys) for incident in found_by_engine(ruleset, example)), key=repr)
    assert found == wanted, example


STEPS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**16)), max_size=60)
searching = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    phases=[phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain],
)


@pytest.mark.timeout(600)  # reached only when an example fails and is made smaller
@pytest.mark.parametrize("kind", drawn.KINDS, ids=lambda kind: kind.__name__)
@searching
@given(seed=st.integers(0, 2**16), steps=STEPS)
def test_engine_agrees_with_the_naive_evaluator(tmp_path: Path, kind: Drawn, seed: int, steps: Sequence[Step]) -> None:
    """Equal incidents, evidence counts and evidence tables for every way of feeding, and as by definition."""
    agree(tmp_path, drawn.case(kind, seed, steps))


# Exact examples ----------------------------------------------------------------------------------------------------------------


def said(at: float, pod: str, text: str) -> Line:
    """A line of an application so many seconds after the start."""
    t = ZERO + round(at * SECOND)
    words = [word for word in ("alpha", "beta", "gamma") if word in text]
    key = text.partition("key=")[2] or None
    row = drawn.row(round(at * SECOND), t, words, k8s__pod__name=pod, k8s__node__name=NODES[pod], key=key)
    return Line(*drawn.container(t, pod, "app", text), row)


def agreed(folder: Path, correlation: Correlation, lines_: Sequence[Line], keep: str = "1m", for_: str = "0s") -> list[Any]:
    """Engine and naive evaluator agree on these lines; gives (group, started, detected, status, rows), times in seconds."""
    example = Case({"it": correlation}, {"keep_firing_for": keep, "for": for_}, lines_, seed=1)
    agree(folder, example)
    incidents = found_by_engine(compiled(folder, example.rules, example.alert), example)
    return [
        (tuple(i.group.values()), (i.started - ZERO) / SECOND, (i.detected - ZERO) / SECOND, i.status, i.rows)
        for i in sorted(incidents, key=lambda incident: incident.started)
    ]


def count(number: int, *keys: str, timespan: str = "10s") -> Correlation:
    """At least so many alphas."""
    return {"type": "event_count", "rules": ["alpha"], "group-by": list(keys), "timespan": timespan, "condition": {"gte": number}}


def test_missing_values_make_no_group(tmp_path: Path) -> None:
    """Two rows without a key have nothing in common, and one without belongs to none with."""
    lines_ = [said(0, "cart-1", "alpha"), said(1, "cart-2", "alpha"), said(2, "pay-1", "alpha key=a"), said(9, "pay-1", "x")]
    assert agreed(tmp_path, count(2, "key"), lines_) == []
    assert agreed(tmp_path, count(3), lines_) == [((), 0, 2, "firing", 3)]


def test_incident_ends_after_quiet(tmp_path: Path) -> None:
    """Evidence `keep_firing_for` after the last one still belongs to it; a microsecond later it would be another one."""
    first = [said(0, "pay-1", "alpha"), said(1, "pay-1", "alpha")]
    again = [said(11, "pay-1", "alpha"), said(21.000001, "pay-1", "alpha"), said(22, "pay-1", "alpha"), said(40, "pay-1", "x")]
    expected_ = [(("pay-1",), 0, 1, "resolved", 3), (("pay-1",), 21.000001, 22, "resolved", 2)]
    assert agreed(tmp_path, count(2, "k8s.pod.name", timespan="5s"), [*first, *again], keep="10s") == expected_


def test_condition_must_last(tmp_path: Path) -> None:
    """With `for`, an incident is detected when its condition is met so much after it was met first."""
    lines_ = [said(at, "pay-1", "alpha") for at in (0, 1, 2, 3, 4.5)]
    assert agreed(tmp_path, count(2, "k8s.pod.name"), lines_, for_="3s") == [(("pay-1",), 0, 4.5, "firing", 5)]
    assert agreed(tmp_path, count(2, "k8s.pod.name"), lines_, for_="4s") == []


def test_quiet_is_never_shorter_than_the_timespan(tmp_path: Path) -> None:
    """With a shorter `keep_firing_for` the timespan counts: rows that may be of one window are never of two incidents."""
    lines_ = [*(said(at, "pay-1", "alpha") for at in (0, 1, 9)), said(30, "pay-1", "x")]
    example = Case({"it": count(2, "k8s.pod.name")}, {"keep_firing_for": "5s", "for": "0s"}, lines_, seed=1)
    [incident] = found_by_engine(compiled(tmp_path, example.rules, example.alert), example)
    assert (incident.status, incident.rows, incident.last - ZERO) == ("resolved", 3, 9 * SECOND)


def test_evidence_does_not_depend_on_other_groups(tmp_path: Path) -> None:
    """What happens on one pod changes nothing about another."""
    inner = {"type": "event_count", "rules": ["alpha"], "group-by": ["k8s.pod.name"], "timespan": "10s", "condition": {"eq": 2}}
    outer = {**inner, "type": "temporal", "rules": ["inner", "beta"], "condition": "inner or beta"}
    own = [said(0, "pay-1", "beta"), said(1, "pay-1", "alpha"), said(9, "pay-1", "x")]
    elsewhere = [said(5, "cart-1", "alpha"), said(6, "cart-1", "alpha")]
    counts = []
    for lines_ in (own, sorted([*own, *elsewhere], key=lambda line: line.row.t)):
        example = Case({"inner": inner, "it": outer}, {"keep_firing_for": "1m", "for": "0s"}, lines_, seed=1)
        incidents = found_by_engine(compiled(tmp_path, example.rules, example.alert), example)
        counts.append([incident.counts for incident in incidents if incident.group == {"k8s.pod.name": "pay-1"}])
    assert counts[0] == counts[1]


@searching
@given(seed=st.integers(0, 2**16), steps=STEPS)
def test_long_silences_do_not_depend_on_the_way(tmp_path: Path, seed: int, steps: Sequence[Step]) -> None:
    """After six minutes in which nobody said a thing, the same is plausible whichever way the rows come."""
    example = drawn.case((drawn.event_count, drawn.combined, drawn.cascade_absent)[seed % 3], seed, steps)
    again = drawn.lines(steps[::-1], (drawn.app, drawn.kernel), (SECOND,))
    begin = drawn.LONGEST + 360 * SECOND
    later = [drawn.app(1000 + at, line.row.t + begin, random.Random(at)) for at, line in enumerate(again)]  # noqa: S311
    found_by_engine(compiled(tmp_path, example.rules, example.alert), replace(example, lines=[*example.lines, *later]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind", [drawn.event_count, drawn.cascade_absent, drawn.ratio, drawn.absence], ids=lambda kind: kind.__name__
)
@searching
@given(seed=st.integers(0, 2**16), steps=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**16)), min_size=40, max_size=60))
def test_what_is_forgotten_after_hours_changes_nothing(tmp_path: Path, kind: Drawn, seed: int, steps: Sequence[Step]) -> None:
    """The same over as long a time as rows are not kept for: old rows live on in their incidents."""
    agree(tmp_path, drawn.case(kind, seed, steps, stretch=180))
