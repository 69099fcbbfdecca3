"""Rows derived from histories: increases of counters between samples, changes of topology objects.

Both are pure functions of what is remembered, so samples and versions may arrive in any order.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.engine.objects import FOREVER, Key, Version, workload_of
from pipeline.engine.topology import Topology, spans
from pipeline.model import columns
from pipeline.signatures.logsource import COUNTERS, OBJECTS

SAMPLES = {
    "event.id": pl.String(),
    "@timestamp": columns.TIME,
    "k8s.cluster.name": pl.String(),
    "k8s.node.name": pl.String(),
    "counter.name": pl.String(),
    "counter.instance": pl.String(),
    "counter.value": pl.Int64(),
}
_SERIES = ("k8s.node.name", "counter.name", "counter.instance")


def increases(samples: pl.DataFrame) -> pl.DataFrame:
    """Each sample with its growth since the one before of the same series. A counter that fell was reset: no growth is known."""
    ordered = samples.sort("@timestamp", "event.id").unique(["@timestamp", *_SERIES], keep="first", maintain_order=True)
    value, when = pl.col("counter.value"), pl.col("@timestamp").dt.epoch("us")
    grown = (value - value.shift(1)).over(_SERIES)
    return ordered.with_columns(
        pl.when(grown >= 0).then(grown).alias("counter.increase"),
        ((when - when.shift(1)).over(_SERIES) / 1e6).alias("counter.interval"),
        pl.lit(COUNTERS).alias("source"),
        pl.concat_str(
            "counter.name",
            pl.lit(" "),
            "counter.instance",
            pl.lit(" = "),
            value,
            pl.lit(" (+"),
            grown.fill_null(0),
            pl.lit(")"),
        ).alias("message"),
    )


KINDS = ("Pod", "Node", "Service", "NetworkPolicy", "Ingress")


def changes(topology: Topology, cluster: str = "") -> pl.DataFrame:
    """One row for every version of every object, with its state and, behind `before.`, the state of the version before it.

    Slices show as changes of their service: `endpoints.ready` and `endpoints.total` sum over all its slices.
    """
    rows = [row for kind in KINDS for key, history in topology.of_kind(kind) for row in _of_object(key, history)]
    rows.extend(_of_services(topology))
    rows.extend(_of_shared_addresses(topology))
    rows.extend(row for key, history in topology.versions.items() for row in _of_conditions(key, history))
    schema = {**_COMMON, **columns.DERIVED}
    named = pl.lit(cluster or None, pl.String).alias("k8s.cluster.name")
    return pl.DataFrame(rows, schema=schema).with_columns(named).sort("@timestamp", "event.id")


_COMMON = {
    **columns.COMMON,
    "k8s.service.name": pl.String(),
}


def _of_object(key: Key, history: list[Version]) -> Iterator[dict[str, Any]]:
    before: dict[str, Any] = {}
    for version in history:
        state = _state(key, version)
        yield {**_row(key, version), **state, **{f"before.{name}": value for name, value in before.items()}}
        before = state


def _of_shared_addresses(topology: Topology) -> Iterator[dict[str, Any]]:
    """When two running pods came to have one address, and when they ceased to: told of the later one."""
    holders: dict[str, list[tuple[int, int, Key, Version]]] = defaultdict(list)
    stays = ((key, *span) for key, history in topology.of_kind("Pod") for span in spans(history))
    for key, version, start, end in stays:
        runs = version.body["phase"] == "Running" and not version.body["deleting"]
        for address in version.body["ips"] if runs and not version.body["host"] else ():
            holders[address].append((start, end, key, version))
    for address, found in holders.items():
        if len({key for _, _, key, _ in found}) > 1:
            yield from _of_shared_address(address, found)


def _of_shared_address(address: str, found: list[tuple[int, int, Key, Version]]) -> Iterator[dict[str, Any]]:
    """Every overlap once: versions of a pod that touch are one stay."""
    ordered = sorted(found, key=lambda holder: (holder[0], holder[2].namespace, holder[2].name))
    begun: dict[tuple[Key, Key], int] = {}
    for at, (start, end, key, version) in enumerate(ordered):
        for _, other_end, other, _ in ordered[:at]:
            until = min(end, other_end)
            if other == key or until <= start or begun.get((key, other), -1) >= start:
                continue
            begun[key, other] = until
            name = f"{other.namespace}/{other.name}"
            row = _row(key, version) | {
                "@timestamp": start,
                "message": f"{address} of {key.namespace}/{key.name} is that of {name}",
            }
            yield row | {"event.id": f"{row['event.id']}/{address}/{name}", "pod.ip.shared_with": name}
            if until < FOREVER:
                yield row | {
                    "@timestamp": until,
                    "event.id": f"{row['event.id']}/{address}/{name}/ended",
                    "message": f"{address} of {key.namespace}/{key.name} is that of {name} no longer",
                    "before.pod.ip.shared_with": name,
                }


def _of_conditions(key: Key, history: list[Version]) -> Iterator[dict[str, Any]]:
    """What the conditions of a custom resource say, each time that one says something else."""
    before: dict[tuple[str, str], tuple[str, str, str]] = {}
    for version in history:
        said = {} if version.gone else version.body.get("conditions") or {}
        for part, kind in said.keys() - {known for known in said if said[known] == before.get(known)}:
            status, reason, message = said[part, kind]
            row = _row(key, version)
            about = f"{key.kind} {key.namespace + '/' if key.namespace else ''}{key.name}{', ' + part if part else ''}"
            yield {
                **row,
                "event.id": f"{row['event.id']}/{part}/{kind}",
                "message": f"{about}: {kind} {status}, {reason}: {message}",
                "condition.type": kind,
                "condition.status": status,
                "condition.reason": reason,
                "condition.scope": part or key.name,
            }
        before = said


def _row(key: Key, version: Version) -> dict[str, Any]:
    body = version.body
    row = {
        "event.id": f"object:{key.kind}/{key.namespace}/{key.name}@{version.at}/{version.order[0]}",
        "@timestamp": version.at,
        "source": OBJECTS,
        "object.kind": key.kind,
        "object.name": key.name,
        "object.change": version.change,
        "k8s.namespace.name": key.namespace or None,
        "message": f"{key.kind} {key.namespace + '/' if key.namespace else ''}{key.name} {version.change}",
    }
    if key.kind == "Pod":
        row |= {
            "k8s.pod.name": key.name,
            "k8s.node.name": body["node"],
            "k8s.workload.name": body["workload"] or workload_of(key.name),
        }
    elif key.kind == "Node":
        row["k8s.node.name"] = key.name
    elif key.kind == "Service":
        row["k8s.service.name"] = key.name
    return row


def _state(key: Key, version: Version) -> dict[str, Any]:
    body = version.body
    if key.kind == "Pod":
        return {
            "pod.phase": body["phase"],
            "pod.ready": body["ready"] and not version.gone,
            "pod.restarts": body["restarts"],
            "container.waiting.reason": body["waiting"],
            "container.exit.reason": body["exit_reason"],
            "container.exit.code": body["exit_code"],
        }
    if key.kind == "Node":
        return {"node.ready": body["ready"], "node.unschedulable": body["unschedulable"]}
    if key.kind == "NetworkPolicy":
        gone = version.change == "DELETED"
        return {"policy.egress": body["egress"] and not gone, "policy.allows_dns": body["allows_dns"] or gone}
    return {}


def _of_services(topology: Topology) -> Iterator[dict[str, Any]]:
    """Changes of the number of endpoints of each service."""
    by_service: dict[tuple[str, str], list[tuple[int, tuple[int, str], Key, Version]]] = defaultdict(list)
    for key, history in topology.of_kind("EndpointSlice"):
        for version in history:
            by_service[key.namespace, version.body["service"] or ""].append((version.at, version.order, key, version))
    for (namespace, service), versions in sorted(by_service.items()):
        if service:
            yield from _of_service(namespace, service, sorted(versions, key=lambda entry: entry[:2]))


def _of_service(
    namespace: str, service: str, versions: list[tuple[int, tuple[int, str], Key, Version]]
) -> Iterator[dict[str, Any]]:
    current: dict[Key, Version] = {}
    before: dict[str, Any] = {}
    for at, order, key, version in versions:
        current[key] = version
        living = [e for v in current.values() if not v.gone for e in v.body["endpoints"]]
        ready = len({address for address, _, _, is_ready in living if is_ready})
        state = {"endpoints.ready": ready, "endpoints.total": len({e[0] for e in living})}
        yield {
            "event.id": f"object:endpoints/{namespace}/{service}/{key.name}@{at}/{order[0]}",
            "@timestamp": at,
            "source": OBJECTS,
            "object.kind": "EndpointSlice",
            "object.name": key.name,
            "object.change": version.change,
            "k8s.namespace.name": namespace,
            "k8s.service.name": service,
            "message": f"endpoints of {namespace}/{service}: {ready} ready of {state['endpoints.total']}",
            **state,
            **{f"before.{name}": value for name, value in before.items()},
        }
        before = state
