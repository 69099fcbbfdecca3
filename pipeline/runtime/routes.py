"""Who hears of an incident: labels, and the tree of routes as Alertmanager means it.

The first child whose matchers all hold takes an incident, further ones only behind `continue: true`; where no child takes it,
the route itself does. What a route does not say it has from the route above.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import Route
from pipeline.contracts.store import Matcher

GROUP_WAIT, GROUP_INTERVAL, REPEAT_INTERVAL = 30.0, 300.0, 14_400.0
"""Seconds: Alertmanager's defaults."""
NAMES = {
    "k8s.node.name": "node",
    "k8s.namespace.name": "namespace",
    "k8s.service.name": "service",
    "k8s.workload.name": "workload",
    "k8s.pod.name": "pod",
    "cloud.availability_zone": "zone",
}
"""Keys of a group to labels in Prometheus' letters, the words that Alertmanager's routes and silences use."""
OWN = ("signature", "layer", "cluster")
WELL_KNOWN = ("alertname", "severity", *OWN, *NAMES.values())
"""Labels that incidents may have; others come from the groups of signatures."""


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver of an incident: the group it is told in, and the times of that group (seconds)."""

    receiver: str
    group: tuple[tuple[str, str], ...]
    wait: float
    interval: float
    repeat: float
    daily_cap: int | None


def labels(incident: Mapping[str, Any]) -> dict[str, str]:
    """The labels of an incident in its public form: few and stable, never counts or times. `alertname` is there because silences
    that are made in Alertmanager name it.
    """
    alertname = "".join(part.capitalize() for part in incident["signature"].split("-"))
    found = {"alertname": alertname} | {name: str(incident[name]) for name in OWN if incident[name]}
    for key, value in incident["group"].items():
        plain = key.removeprefix("client.").removeprefix("upstream.")
        found.setdefault(NAMES.get(plain, re.sub(r"[^A-Za-z0-9_]", "_", plain)), value)
    return {**found, "severity": str(incident["level"])}


def holds(matcher: Matcher, values: Mapping[str, str]) -> bool:
    """Whether a matcher holds for labels; a label that is not there is empty, and expressions match the whole value."""
    value = values.get(matcher.name, "")
    if matcher.operator.endswith("~"):
        return (re.fullmatch(matcher.value, value) is not None) == (matcher.operator == "=~")
    return (value == matcher.value) == (matcher.operator == "=")


def targets(root: Route, values: Mapping[str, str]) -> list[Target]:
    """Who hears of an incident with these labels; nobody where no route that takes it has a receiver."""
    found = (_target(chain, values) for chain in _taking((root,), values))
    return list(dict.fromkeys(target for target in found if target is not None))


def _taking(chain: tuple[Route, ...], values: Mapping[str, str]) -> Iterator[tuple[Route, ...]]:
    """The routes that take an incident, each with those above it, nearest last."""
    taken = False
    for child in chain[-1].routes:
        if all(holds(matcher, values) for matcher in child.matchers):
            taken = True
            yield from _taking((*chain, child), values)
            if not child.continue_:
                break
    if not taken:
        yield chain


def _target(chain: tuple[Route, ...], values: Mapping[str, str]) -> Target | None:
    def said(name: str, default: Any) -> Any:
        return next((value for route in reversed(chain) if (value := getattr(route, name)) is not None), default)

    receiver = said("receiver", None)
    if receiver is None:
        return None
    group = tuple((name, values.get(name, "")) for name in said("group_by", ()))
    wait, interval = said("group_wait", GROUP_WAIT), said("group_interval", GROUP_INTERVAL)
    return Target(receiver, group, wait, interval, said("repeat_interval", REPEAT_INTERVAL), said("daily_cap", None))
