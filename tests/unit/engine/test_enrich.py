"""Rows get the entities they are about, as far as the topology then known tells."""

import polars as pl

from pipeline.engine.enrich import enrich
from pipeline.engine.topology import Topology
from pipeline.model import columns
from tests.unit.engine.said import START, node_of, of, service

TYPES = {"@timestamp": columns.TIME}


def service_of(name: str, known: Topology) -> tuple[str | None, list[str] | None]:
    """Service and namespace of a request that went to the backend of that name."""
    row = enrich(pl.DataFrame({"@timestamp": [START], "upstream.name": [name]}, schema_overrides=TYPES), known)
    return row["k8s.service.name"][0], row["upstream.k8s.namespace.name"].to_list()[0]


def test_a_backend_of_haproxy_names_its_service_without_a_list_of_services() -> None:
    """Nodes are known, or nothing at all: the name itself says which service, whatever the port is called."""
    for known in (of((0, "ADDED", node_of("10.9.0.1"))), Topology()):
        assert service_of("shop_svc_cart-v2_http-alt", known) == ("cart-v2", ["shop"])


def test_other_names_of_backends_need_the_list() -> None:
    """Where hyphens join the parts, any of them may be part of a name; nor has every backend of HAProxy a service behind it."""
    without, listed = of((0, "ADDED", node_of("10.9.0.1"))), of((0, "ADDED", service("cart", 80)))
    for name in ("shop-cart-80", "shop_cart_80"):
        assert service_of(name, without) == (None, None)
        assert service_of(name, listed) == ("cart", ["shop"])
    for name in ("haproxy-controller_default-local-service_http", "stats", "_svc_cart_80"):
        assert service_of(name, listed) == (None, None)
