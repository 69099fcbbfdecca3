"""The event columns: names, Polars types and which of them name entities.

Names follow the OpenTelemetry semantic conventions first and ECS where OpenTelemetry has none, so that what is stored
needs no renaming in Elasticsearch or Grafana. A parser declares the columns it adds; the union of all is what a rule may name.
"""

from typing import Final

import polars as pl

TIME: Final = pl.Datetime("us", "UTC")

COMMON: Final[dict[str, pl.DataType]] = {
    "@timestamp": TIME,
    "observed": TIME,
    "source": pl.String(),
    "k8s.cluster.name": pl.String(),
    "k8s.node.name": pl.String(),
    "k8s.namespace.name": pl.String(),
    "k8s.pod.name": pl.String(),
    "k8s.workload.name": pl.String(),
    "container.name": pl.String(),
    "process.name": pl.String(),
    "log.level": pl.String(),
    "message": pl.String(),
    "event.id": pl.String(),
}
"""Present in every event frame. `source` is the kind of the row (`coredns.query`), `process.name` the program that wrote it."""

UNWRAPPED: Final[dict[str, pl.DataType]] = {
    "line": pl.UInt32(),
    "@timestamp": TIME,
    "message": pl.String(),
    "log.iostream": pl.String(),
    "partial": pl.Boolean(),
    "log.level": pl.String(),
    "format": pl.String(),
    "k8s.cluster.name": pl.String(),
    "k8s.node.name": pl.String(),
    "k8s.namespace.name": pl.String(),
    "k8s.pod.name": pl.String(),
    "k8s.pod.uid": pl.String(),
    "k8s.pod.app": pl.String(),
    "container.name": pl.String(),
    "container.image.name": pl.String(),
    "process.name": pl.String(),
}
"""What an envelope gives, in this order: `line` is the number of the input record (a push body holds several rows),
`message` null means that the envelope did not understand the record, `partial` marks a CRI P part, `format` names the
format where the envelope knows it (a kernel message, a Kubernetes event), `k8s.pod.app` is the pod's app label."""

PARSED: Final[dict[str, pl.DataType]] = {"source": pl.String(), "log.level": pl.String(), "event.time": TIME}
"""What every format gives beside its own columns: `source` null means not understood, `event.time` is the time inside
the text and is used only where no envelope gave one."""

ENTITY: Final[tuple[str, ...]] = (
    "k8s.node.name",
    "cloud.availability_zone",
    "k8s.namespace.name",
    "k8s.workload.name",
    "k8s.pod.name",
    "k8s.service.name",
)
"""The keys under which an incident's evidence is counted and explained."""

OBSERVER: Final = "observer.k8s.node.name"
"""The node of whoever wrote a row, whatever the row is about: a key of `explains.on` beside those of `ENTITY`."""
CLUSTER: Final = "k8s.cluster.name"
"""All of the cluster: a key of `explains.on` beside those of `ENTITY`."""

SIDES: Final[tuple[str, ...]] = ("client", "upstream")

TOPOLOGY: Final[dict[str, pl.DataType]] = {
    **{f"client.{key}": pl.String() for key in ENTITY},
    **{f"upstream.{key}": pl.List(pl.String()) for key in ENTITY},
    "upstream.former": pl.List(pl.Boolean()),
    "client.former": pl.Boolean(),
    "k8s.service.name": pl.String(),
    "cloud.availability_zone": pl.String(),
}
"""What enrichment adds. The upstream side has one element an attempt, like `upstream.address`; `former` marks an owner
that had already given the address back. `k8s.service.name` is the service that the row is about."""

_STATE: Final[dict[str, pl.DataType]] = {
    "endpoints.ready": pl.Int64(),
    "endpoints.total": pl.Int64(),
    "pod.phase": pl.String(),
    "pod.ready": pl.Boolean(),
    "pod.restarts": pl.Int64(),
    "pod.ip.shared_with": pl.String(),
    "container.waiting.reason": pl.String(),
    "container.exit.reason": pl.String(),
    "container.exit.code": pl.Int64(),
    "node.ready": pl.String(),
    "node.unschedulable": pl.Boolean(),
    "policy.egress": pl.Boolean(),
    "policy.allows_dns": pl.Boolean(),
}

DERIVED: Final[dict[str, pl.DataType]] = {
    "counter.name": pl.String(),
    "counter.instance": pl.String(),
    "counter.value": pl.Int64(),
    "counter.increase": pl.Int64(),
    "counter.interval": pl.Float64(),
    "object.kind": pl.String(),
    "object.name": pl.String(),
    "object.change": pl.String(),
    "condition.type": pl.String(),
    "condition.status": pl.String(),
    "condition.reason": pl.String(),
    "condition.scope": pl.String(),
    **_STATE,
    **{f"before.{name}": dtype for name, dtype in _STATE.items()},
}
"""Rows that are computed from a history: increases of counters between samples (`counter.interval` in seconds), and
changes of topology objects with the same object's state before (`before.`). `endpoints.*` sum over a service's slices.
`condition.*` is what a condition of a custom resource (a Gateway, a route, a Certificate) newly says,
`condition.scope` the listener or parent that it is about, or the object itself."""
