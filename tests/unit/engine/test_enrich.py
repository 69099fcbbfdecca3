"""Rows get the entities they are about, as far as the topology then known tells."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pipeline.engine import objects
from pipeline.engine.enrich import enrich
from pipeline.engine.topology import Topology
from pipeline.model import columns

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def topology(*records: tuple[int, str, Mapping[str, Any]]) -> Topology:
    """What the API said: (minutes after the start, kind of change, object)."""
    known = Topology()
    for number, (minute, change, obj) in enumerate(records):
        at = (START + timedelta(minutes=minute)).isoformat()
        read = objects.read(json.dumps({"at": at, "type": change, "object": obj}), str(number))
        assert read is not None
        known.add([read])
    return known


def node(name: str, zone: str) -> Mapping[str, Any]:
    """A Node."""
    return {"kind": "Node", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}}


def service_of(name: str, known: Topology) -> tuple[str | None, list[str] | None]:
    """Service and namespace of a request that went to the backend of that name."""
    row = enrich(pl.DataFrame({"@timestamp": [START], "upstream.name": [name]}, schema_overrides=TYPES), known)
    return row["k8s.service.name"][0], row["upstream.k8s.namespace.name"].to_list()[0]


TYPES = {"@timestamp": columns.TIME}


def test_a_backend_of_haproxy_names_its_service_without_a_list_of_services() -> None:
    """Nodes are known, or nothing at all: the name itself says which service, whatever the port is called."""
    for known in (topology((0, "ADDED", node("n1", "z1"))), Topology()):
        assert service_of("shop_svc_cart-v2_http-alt", known) == ("cart-v2", ["shop"])


def test_other_names_of_backends_need_the_list() -> None:
    """Where hyphens join the parts, any of them may be part of a name; nor has every backend of HAProxy a service behind it."""
    cart = {"kind": "Service", "metadata": {"namespace": "shop", "name": "cart"}, "spec": {"ports": [{"port": 80}]}}
    without, listed = topology((0, "ADDED", node("n1", "z1"))), topology((0, "ADDED", cart))
    for name in ("shop-cart-80", "shop_cart_80"):
        assert service_of(name, without) == (None, None)
        assert service_of(name, listed) == ("cart", ["shop"])
    for name in ("haproxy-controller_default-local-service_http", "stats", "_svc_cart_80"):
        assert service_of(name, listed) == (None, None)
