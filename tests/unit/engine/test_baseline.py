"""What is usual is what the sources in question gave, from the moment they could be read."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.engine.engine import Engine
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch, Stream
from pipeline.signatures.ruleset import RuleSet
from tests.unit.engine.rulesets import compiled

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
RULES = """
name: lookup
title: A client asks for a name
logsource: {category: dns}
detection: {s: {dns.response_code|exists: true}, condition: s}
---
title: Far more queries than before
id: 6c8d1f1c-0000-4000-8000-000000000002
version: 1
status: test
layer: dns
level: medium
what: w
cause: c
impact: i
first_aid: [f]
fix: [f]
false_positives: [f]
references: ['https://example.com']
confidence: 0.7
correlation:
    {type: baseline, of: lookup, group-by: [k8s.workload.name], timespan: 30s, against: 1h, condition: {factor: 3}, minimum: 100}
alert: {annotations: {summary: more}}
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> RuleSet:
    """One signature over CoreDNS queries."""
    return compiled(tmp_path, {"dns/more-queries": RULES})


def queries(begin: int, end: int, rate: int) -> RawBatch:
    """So many queries a second, from one second after the start to another."""
    lines = []
    for second in range(begin, end):
        at = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")
        query = '[INFO] 10.0.0.9:4711 - 7 "A IN cart.shop. udp 41 false 1232" NOERROR qr,aa,rd 80 0.0001s'
        lines += [f"{at}.{number:06d}Z stdout F {query}\n" for number in range(rate)]
    stream = Stream("coredns", "cri", "coredns", node="n1", namespace="dns", pod="resolver-7d8f9c6b5d-x2x4z", container="coredns")
    return RawBatch(stream, "".join(lines).encode(), begin * 1_000_000)


def event() -> RawBatch:
    """An event of which the cluster had kept the first time, an hour before anything was read."""
    first, last = ((START - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ") for minutes in (55, 1))
    told = {
        "kind": "Event", "metadata": {"name": "e", "namespace": "shop", "uid": "u"}, "type": "Warning", "reason": "BackOff",
        "message": "Back-off restarting failed container", "firstTimestamp": first, "lastTimestamp": last, "count": 40,
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "shop"},
    }  # fmt: skip
    old = told | {"metadata": {"name": "f", "namespace": "shop", "uid": "v"}, "lastTimestamp": first, "count": 1}
    data = "".join(json.dumps(one) + "\n" for one in (old, told))
    return RawBatch(Stream("events", "plain", "k8s.events"), data.encode(), 0)


def found(ruleset: RuleSet, *batches: RawBatch) -> list[Incident]:
    """What is found once all was read."""
    engine = Engine(ruleset)
    for batch in (event(), *batches):
        engine.feed([batch])
        engine.incidents()
    engine.finish()
    return [incident for incident in engine.incidents() if incident.status != "near_miss"]


def test_traffic_that_goes_on_as_it_began_is_usual(ruleset: RuleSet) -> None:
    """The hour before the first query, of which only events tell, was not an hour without queries."""
    assert found(ruleset, queries(0, 300, 20)) == []


def test_a_rise_over_what_was_seen_is_told(ruleset: RuleSet) -> None:
    """Four times the queries of the five minutes before are a rise, though less than the hour asked for is known.

    It is told of the workload, which is known by the name of the pod that wrote the log.
    """
    rise = found(ruleset, queries(0, 300, 20), queries(300, 360, 80))
    assert [(incident.signature, incident.group) for incident in rise] == [("more-queries", {"k8s.workload.name": "resolver"})]
    assert 300 < rise[0].detected / 1_000_000 - START.timestamp() <= 330
