"""The same rows in another wrapping are the same incidents: every shipper, journald, compression, zones, parts, event APIs."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline import parsers
from pipeline.model.incident import Incident
from pipeline.runtime import replay
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet
from tests.components import rewrap
from tests.components.shipped import SHAPES

Original = Callable[[Path], list[Incident]]
CAPTURES = Path(__file__).parent.parent / "captures"
QUICK = ("coredns-oom-crashloop", "pod-cannot-resolve")
"""Two small recordings for the quick run: every shape is tried on the first."""

DENSE = ("fluentbit-parts", "otlp", "cri-parts")
"""Shapes that are tried on the second as well: it has a query log, of which every row counts."""

TEXTS = """
layer: node
what: x
cause: x
impact: x
first_aid: [x]
fix: [x]
references: ['https://example.com/']
false_positives: [x]
version: 1
status: experimental
level: medium
confidence: 0.5
alert: {keep_firing_for: 2m, annotations: {summary: x}}
"""
PROBES: Mapping[str, str] = {
    "probe-kernel": """
name: probe_kernel
title: a port of the bridge forwards
logsource: {product: linux, service: kernel}
detection: {port: {message|contains: 'entered forwarding state'}, condition: port}
level: informational
---
title: kernel lines of a node
correlation: {type: event_count, rules: [probe_kernel], group-by: [k8s.node.name], timespan: 5m, condition: {gte: 2}}
explains: [{rules: [probe-events], on: [k8s.node.name], within: 10m}]
""",
    "probe-events": """
name: probe_event
title: a container starts or fails
logsource: {product: kubernetes, service: events}
detection: {named: {event.reason: [Started, BackOff, Unhealthy, OOMKilling]}, condition: named}
level: informational
---
title: events of a node
correlation: {type: event_count, rules: [probe_event], group-by: [k8s.node.name], timespan: 5m, condition: {gte: 2}}
""",
    "probe-text": """
name: probe_text
title: an application serves requests
logsource: {category: application}
detection: {served: {message|contains: 'INFO ['}, condition: served}
level: informational
---
title: application lines of a workload
correlation: {type: event_count, rules: [probe_text], group-by: [k8s.namespace.name, k8s.workload.name], timespan: 10s, condition: {gte: 3}}
""",
    "probe-ratio": """
name: probe_request
title: a request
logsource: {product: ingress-nginx, service: access}
detection: {any: {http.response.status_code|gte: 100}, condition: any}
level: informational
---
name: probe_failed
title: a failed request
logsource: {product: ingress-nginx, service: access}
detection: {bad: {http.response.status_code|gte: 500}, condition: bad}
level: informational
---
title: failed requests of a service
correlation: {type: ratio, of: probe_failed, among: probe_request, group-by: [upstream.k8s.namespace.name, k8s.service.name], timespan: 30s, condition: {gte: 0.05}, minimum: 5}
""",
    "probe-dns": """
name: probe_query
title: a query
logsource: {category: dns}
detection: {any: {dns.response_code|exists: true}, condition: any}
level: informational
---
name: probe_nxdomain
title: a name that does not exist
logsource: {category: dns}
detection: {no: {dns.response_code: NXDOMAIN}, condition: no}
level: informational
---
title: queries for names that do not exist
correlation: {type: ratio, of: probe_nxdomain, among: probe_query, group-by: [k8s.pod.name], timespan: 30s, condition: {gte: 0.05}, minimum: 20}
""",
}
"""A signature a kind of source, so that something can differ whatever the packaged rules look for."""


@pytest.fixture(scope="module")
def ruleset(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    """The packaged rules and the probes."""
    folder = tmp_path_factory.mktemp("probes")
    for number, (slug, text) in enumerate(PROBES.items()):
        (folder / "node" / slug).mkdir(parents=True)
        identity = f"id: 9d6b1d9e-0f5a-4a0e-8d0d-{number:012}"
        (folder / "node" / slug / "rule.yaml").write_text(f"{text.strip()}\n{identity}{TEXTS}")
    return load.load(parsers.vocabulary(), [load.packaged(), folder], cache=folder)


@pytest.fixture(scope="module")
def original(ruleset: RuleSet) -> Original:
    """The incidents of a recording as it is."""
    return cache(lambda folder: replay.run(folder, ruleset).incidents)


def essence(incidents: list[Incident], *, unit: int = 1, whole: bool = True) -> dict[str, dict[str, Any]]:
    """What must not change, by signature and group; times in units of microseconds; what must stay even in part where not `whole`."""
    by_id = {incident.id: incident for incident in incidents}
    return {
        _name(found): {"status": found.status, "started": found.started // unit}
        | ({"detected": found.detected // unit, "rows": found.rows, "counts": dict(found.counts)} if whole else {})
        | ({"cause": _name(by_id[found.cause]) if found.cause else None} if whole else {})
        for found in incidents
    }


def _not_of_its_writer(incident: Incident) -> bool:
    """Whether an incident is about what the lines speak of, or what the kernel and the events say of a node."""
    return incident.status != "near_miss" and set(incident.group) in (
        {"k8s.node.name"},
        {"k8s.namespace.name", "k8s.service.name"},
    )


REMAINS: Mapping[str, Callable[[Incident], bool]] = {"docker": _not_of_its_writer, "docker-parts": _not_of_its_writer}
"""What a shape that loses information leaves. Docker's file tells neither pod nor node: incidents of the writer are gone,
with them what they explain, and of the others the lines whose look does not tell their program (the alerts of HAProxy), so that
only status and start are compared. (Filebeat loses something as well: its times are whole milliseconds.)"""


def _name(incident: Incident) -> str:
    return f"{incident.signature} {dict(incident.group)}"


def _agree(folder: Path, shape: str, tmp_path: Path, ruleset: RuleSet, original: Original) -> None:
    SHAPES[shape](rewrap.read(folder), tmp_path)
    made = replay.run(tmp_path, ruleset)
    # Whole milliseconds make ties, which a near miss (a window that was not reached) counts otherwise.
    kept = (lambda found: found.status != "near_miss") if shape == "filebeat" else REMAINS.get(shape)
    unit = 1000 if shape == "filebeat" else 1
    wanted, found = (
        essence(list(filter(kept, incidents)), unit=unit, whole=shape not in REMAINS)
        for incidents in (original(folder), made.incidents)
    )
    assert found == wanted


@pytest.mark.parametrize(("name", "shape"), [*((QUICK[0], shape) for shape in SHAPES), *((QUICK[1], shape) for shape in DENSE)])
def test_a_small_recording_in_another_wrapping(
    name: str, shape: str, tmp_path: Path, ruleset: RuleSet, original: Original
) -> None:
    """Signature, group, times, evidence and cause are those of the original."""
    _agree(CAPTURES / name, shape, tmp_path, ruleset, original)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_recording_in_another_wrapping(
    capture: Path, shape: str, tmp_path: Path, ruleset: RuleSet, original: Original
) -> None:
    """The same of every recording."""
    _agree(capture, shape, tmp_path, ruleset, original)


@pytest.mark.parametrize("name", QUICK)
def test_every_probe_sees_something(name: str, original: Original) -> None:
    """Else equality would say nothing about its kind of source."""
    seen = {incident.signature for incident in original(CAPTURES / name)}
    assert {"probe-kernel", "probe-events", "probe-text"} <= seen
    assert seen & {"probe-ratio", "probe-dns"}
