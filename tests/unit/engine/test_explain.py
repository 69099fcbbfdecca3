"""A cause on a node accounts for what was seen from there only where nothing else is as likely."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.engine import reach
from pipeline.engine.explain import explain
from pipeline.engine.topology import Topology
from pipeline.model.incident import Cell, Incident, Touch
from pipeline.signatures.ruleset import RuleSet
from tests.unit.engine.rulesets import compiled

RULE = """
name: {slug}_line
title: A line
logsource: {{product: linux, service: kernel}}
detection: {{s: {{message|contains: some words}}, condition: s}}
---
title: {slug}
id: {slug}
version: 1
status: test
layer: {layer}
level: medium
what: w
cause: c
impact: i
first_aid: [f]
fix: [f]
false_positives: [f]
references: ['https://example.com']
confidence: 0.7
correlation: {{type: event_count, rules: [{slug}_line], group-by: [{key}], timespan: 1m, condition: {{gte: 1}}}}
explains: {explains}
alert: {{annotations: {{summary: s}}}}
"""
EXPLAINS = "[{rules: [silent], on: [k8s.node.name]}, {rules: [silent], on: [observer.k8s.node.name], coverage: 0.9}]"
START = 1_772_359_200_000_000


@pytest.fixture
def ruleset(tmp_path: Path) -> RuleSet:
    """A disaster of a node that explains when services are silent: its own pods, and what an ingress on it cannot reach."""
    wanted = (("broken", "node", "k8s.node.name", EXPLAINS), ("silent", "ingress", "k8s.service.name", "[]"))
    return compiled(tmp_path, {
        f"{layer}/{slug}": RULE.format(slug=slug, layer=layer, key=key, explains=explains) for slug, layer, key, explains in wanted
    })  # fmt: skip


def incident(signature: str, key: str, value: str, cells: Sequence[Cell] = ()) -> Incident:
    """An incident of a minute, with the evidence table that matters."""
    return Incident(
        id=f"{signature} {value}", signature=signature, title="t", layer="node" if signature == "broken" else "ingress",
        level="medium", status="firing", cluster="c", group={key: value}, started=START, detected=START, last=START + 60_000_000,
        ended=None, rows=1, counts={}, titles={}, entities={}, cells=tuple(cells), rest=0, lines=(), shown={}, confidence=0.7,
    )  # fmt: skip


def broken(node: str) -> Incident:
    """The disaster of a node."""
    return incident("broken", "k8s.node.name", node)


def silent(service: str, to: str, **seen_from: int) -> Incident:
    """A service that does not answer on a node: how many attempts ingresses made on each of theirs."""
    return incident("silent", "k8s.service.name", service, attempts(service, to, seen_from))


def attempts(service: str, to: str, seen_from: Mapping[str, int]) -> list[Cell]:
    """Failed attempts at a pod on a node, by the node of the ingress."""
    touch: Touch = (to, None, "shop", service, f"{service}-{to}", service)
    return [Cell(START, "silent_line", (touch,), number, node) for node, number in seen_from.items()]


def causes(ruleset: RuleSet, *incidents: Incident) -> dict[str, list[tuple[str, float]]]:
    """What stands below something, with the shares of its causes, the main one first."""
    found = explain(incidents, ruleset, Topology())
    return {i.id: [(share.id, share.coverage) for share in i.causes] for i in found if i.cause is not None}


def test_services_that_an_ingress_cannot_reach_hang_below_the_node_it_runs_on(ruleset: RuleSet) -> None:
    """Nearly all attempts were made there, towards several services on another node."""
    found = causes(ruleset, broken("n1"), silent("cart", "n2", n1=19, n3=1), silent("pay", "n2", n1=8))
    assert found == {"silent cart": [("broken n1", 0.95)], "silent pay": [("broken n1", 1.0)]}


def test_what_others_see_from_elsewhere_too_is_not_the_node_s_doing(ruleset: RuleSet) -> None:
    """Half of the attempts, and then the rest alone: one service is too few."""
    both = broken("n1"), silent("cart", "n2", n1=10, n3=10), silent("pay", "n2", n1=10, n3=10)
    assert causes(ruleset, *both) == {}
    assert causes(ruleset, *both[:2], silent("pay", "n2", n1=10)) == {}
    assert causes(ruleset, broken("n1"), silent("cart", "n2", n1=10)) == {}


def test_several_nodes_together_may_be_why(ruleset: RuleSet) -> None:
    """Each accounts for its part."""
    services = silent("cart", "n2", n1=12, n3=8), silent("pay", "n2", n1=5, n3=5)
    found = causes(ruleset, broken("n1"), broken("n3"), *services)
    assert found["silent cart"] == [("broken n1", 0.6), ("broken n3", 0.4)]
    assert found["silent pay"] == [("broken n1", 0.5), ("broken n3", 0.5)]


def test_the_node_of_the_silent_pods_goes_before_that_of_the_ingress(ruleset: RuleSet) -> None:
    """Both account for all of it; both are named."""
    services = silent("cart", "n2", n1=10), silent("pay", "n2", n1=10)
    found = causes(ruleset, broken("n1"), broken("n2"), *services)
    assert found["silent cart"] == [("broken n2", 1.0), ("broken n1", 1.0)]


def test_a_node_accounts_for_its_own_pods_whoever_asked(ruleset: RuleSet) -> None:
    """One service is enough, and more attempts from elsewhere change nothing."""
    assert causes(ruleset, broken("n2"), silent("cart", "n2", n1=10, n3=10)) == {"silent cart": [("broken n2", 1.0)]}


def test_a_node_with_an_ingress_and_some_of_the_pods_accounts_for_both(ruleset: RuleSet) -> None:
    """Its ingress reaches no pod anywhere, and nobody reaches its pods: together that is everything, and neither is alone."""
    cells = {name: [*attempts(name, "n2", {"n1": 10}), *attempts(name, "n1", {"n1": 4, "n3": 5})] for name in ("cart", "pay")}
    services = [incident("silent", "k8s.service.name", name, found) for name, found in cells.items()]
    found = causes(ruleset, broken("n1"), *services)
    assert found == {"silent cart": [("broken n1", 1.0)], "silent pay": [("broken n1", 1.0)]}


def test_a_dead_pod_elsewhere_is_not_the_node_s_doing(ruleset: RuleSet) -> None:
    """The ingress on a healthy node fails at it as well."""
    cells = {name: [*attempts(name, "n2", {"n1": 8, "n3": 8}), *attempts(name, "n1", {"n3": 4})] for name in ("cart", "pay")}
    services = [incident("silent", "k8s.service.name", name, found) for name, found in cells.items()]
    assert causes(ruleset, broken("n1"), *services) == {}


def test_a_service_is_meant_with_its_namespace() -> None:
    """Half of the rows are about the ingress that speaks, in a namespace of its own."""
    own: Touch = ("n1", None, "edge", "proxy", "proxy-0", None)
    asked: Touch = (None, None, "shop", None, None, "cart")
    spoken = incident("s", "k8s.pod.name", "proxy-0", [Cell(START, "line", (own, asked), 4)])
    there = reach.of(spoken, Topology(), 0, on=["k8s.service.name"])
    assert there.weight(("n2", None, "shop", "cart", "cart-0", "cart"), asks_dns=False) == 1
    assert there.weight(("n2", None, "edge", "cart", "cart-0", "cart"), asks_dns=False) == 0


def test_what_a_pod_sees_is_seen_from_its_node() -> None:
    """Not from the nodes that its failures are about."""
    asked: Touch = ("n2", None, "shop", "cart", "cart-0", "cart")
    without_ports = incident("s", "k8s.pod.name", "proxy-0", [Cell(START, "line", (asked,), 9, "n1")])
    assert reach.of(without_ports, Topology(), 0, on=["observer.k8s.node.name"]).observer == "n1"
