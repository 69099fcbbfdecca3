"""Routing as Alertmanager means it, on the labels of incidents."""

import pytest

from pipeline.config import Route
from pipeline.contracts.store import Matcher
from pipeline.runtime import routes

INCIDENT = {
    "signature": "conntrack-table-full", "layer": "node", "cluster": "lab", "level": "critical", "group": {"k8s.node.name": "n4"},
}  # fmt: skip


def route(**said: object) -> Route:
    """A route in the words of the configuration."""
    return Route.model_validate(said)


def receivers(root: Route, **values: str) -> list[str]:
    """Who hears of an incident with these labels."""
    return [target.receiver for target in routes.targets(root, values)]


def test_labels_are_few_and_in_prometheus_letters() -> None:
    """Names, layer, cluster, severity, and what the incident is about; either side of a connection counts plainly."""
    assert routes.labels(INCIDENT) == {
        "alertname": "ConntrackTableFull", "signature": "conntrack-table-full", "layer": "node", "cluster": "lab", "node": "n4",
        "severity": "critical",
    }  # fmt: skip
    other = INCIDENT | {
        "cluster": "",
        "group": {"upstream.k8s.namespace.name": "shop", "k8s.service.name": "cart", "dns.zone-x": "a"},
    }
    assert routes.labels(other) == {
        "alertname": "ConntrackTableFull", "signature": "conntrack-table-full", "layer": "node", "namespace": "shop",
        "service": "cart", "dns_zone_x": "a", "severity": "critical",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("=", "critical", True), ("=", "crit", False), ("!=", "critical", False), ("!=", "low", True),
        ("=~", "crit.*", True), ("=~", "crit", False), ("!~", "crit", True), ("!~", "low|critical", False),
    ],
)  # fmt: skip
def test_matchers(operator: str, value: str, *, expected: bool) -> None:
    """Expressions match the whole value."""
    matcher = Matcher("severity", operator, value)  # type: ignore[arg-type]
    assert routes.holds(matcher, {"severity": "critical"}) is expected


def test_a_label_that_is_not_there_is_empty() -> None:
    """So `zone=""` means: without a zone."""
    assert routes.holds(Matcher("zone", "=", ""), {})
    assert not routes.holds(Matcher("zone", "!=", ""), {})


def test_the_first_child_that_matches_takes_it() -> None:
    """Further ones only behind `continue`, the route itself where no child does."""
    root = route(
        receiver="all",
        routes=[
            {"matchers": ['severity="critical"'], "receiver": "pager", "continue": True},
            {"matchers": ["layer=~node|cni"], "receiver": "platform"},
            {"matchers": ['layer="node"'], "receiver": "never"},
        ],
    )
    assert receivers(root, severity="critical", layer="node") == ["pager", "platform"]
    assert receivers(root, severity="critical", layer="dns") == ["pager"]
    assert receivers(root, severity="low", layer="node") == ["platform"]
    assert receivers(root, severity="low", layer="dns") == ["all"]


def test_what_a_route_does_not_say_it_has_from_above() -> None:
    """Receiver, grouping and times; the defaults are Alertmanager's."""
    root = route(
        receiver="all",
        group_by=["cluster"],
        group_wait="0s",
        routes=[{"matchers": ['layer="dns"'], "repeat_interval": "1h", "daily_cap": 5}],
    )
    (target,) = routes.targets(root, {"layer": "dns", "cluster": "lab"})
    assert target == routes.Target("all", (("cluster", "lab"),), 0.0, 300.0, 3600.0, 5)
    (target,) = routes.targets(root, {"layer": "node"})
    assert target == routes.Target("all", (("cluster", ""),), 0.0, 300.0, 14_400.0, None)


def test_a_receiver_hears_once_in_one_group() -> None:
    """Also where two routes lead to it; without a receiver nobody hears."""
    twice = route(receiver="all", routes=[{"matchers": ["a=1"], "continue": True}, {"matchers": ["b=1"]}])
    assert receivers(twice, a="1", b="1") == ["all"]
    assert receivers(route()) == []
