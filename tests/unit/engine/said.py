"""Topology as the API tells it, for tests: short ways to write objects, and what follows from them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.engine import objects
from pipeline.engine.topology import Topology

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
Said = tuple[int, str, Mapping[str, Any]]
"""What the API said: minutes after the start, kind of change, object."""


def minute(number: float) -> datetime:
    """A time."""
    return START + timedelta(minutes=number)


def read(said: Said) -> tuple[objects.Key, objects.Version]:
    """An object as the engine reads it."""
    at, change, obj = said
    found = objects.read(json.dumps({"at": minute(at).isoformat(), "type": change, "object": obj}), f"{at:09} {change}")
    assert found is not None
    return found


def meta(name: str, namespace: str | None = "shop", created: int | None = None) -> dict[str, Any]:
    """Metadata of an object, created so many minutes after the start."""
    return {"name": name, "namespace": namespace, "creationTimestamp": None if created is None else minute(created).isoformat()}


def slice_(
    service: str, pods: Mapping[str, tuple[str, str]], created: int | None = None, namespace: str = "shop"
) -> Mapping[str, Any]:
    """An EndpointSlice with address and node of each pod."""
    endpoints = [
        {"addresses": [address], "nodeName": node, "targetRef": {"kind": "Pod", "name": pod}}
        for pod, (address, node) in pods.items()
    ]
    labels = {"kubernetes.io/service-name": service}
    return {"kind": "EndpointSlice", "metadata": meta(service, namespace, created) | {"labels": labels}, "endpoints": endpoints}


def pod(name: str, address: str, node: str, created: int | None = None) -> Mapping[str, Any]:
    """A Pod without an owner."""
    return {
        "kind": "Pod", "metadata": meta(name, created=created), "spec": {"nodeName": node}, "status": {"podIPs": [{"ip": address}]},
    }  # fmt: skip


def node_of(address: str, created: int | None = None) -> Mapping[str, Any]:
    """The node n1, which has an address itself."""
    addresses = [{"type": "InternalIP", "address": address}]
    return {"kind": "Node", "metadata": meta("n1", None, created), "status": {"addresses": addresses}}


def service(name: str, port: int, namespace: str = "shop", **labels: str) -> Mapping[str, Any]:
    """A Service with one port."""
    return {"kind": "Service", "metadata": meta(name, namespace) | {"labels": labels}, "spec": {"ports": [{"port": port}]}}


def of(*said: Said) -> Topology:
    """The topology that follows from it."""
    known = Topology()
    known.add([read(part) for part in said])
    return known
