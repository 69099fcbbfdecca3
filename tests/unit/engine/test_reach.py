"""What a cause can have touched."""

from pipeline.engine import reach
from pipeline.engine.topology import Topology
from pipeline.model.incident import Incident
from tests.unit.engine.said import START, Said, of, service, slice_

COREDNS = "coredns-6f6b679f8f-8h2kz"
KUBE_DNS: Said = (0, "ADDED", service("kube-dns", 53, "kube-system", **{"k8s-app": "kube-dns"}))
ELSEWHERE: Said = (0, "ADDED", slice_("cart", {"cart-7d8f9c6b54-x2kqp": ("10.1.0.7", "n1")}))


def share(topology: Topology, layer: str = "dns") -> float:
    """How much of cluster DNS a disaster of CoreDNS reaches."""
    at = round(START.timestamp() * 1e6) + 60_000_000
    group = {"k8s.namespace.name": "kube-system", "k8s.workload.name": "coredns"}
    incident = Incident(
        id="a", signature="s", title="t", layer=layer, level="high", status="firing", cluster="c", group=group, started=at, detected=at,
        last=at, ended=None, rows=1, counts={}, titles={}, entities={}, cells=(), rest=0, lines=(), shown={}, confidence=0.5,
    )  # fmt: skip
    return reach.of(incident, topology, 0).dns


def test_a_disaster_of_dns_reaches_all_who_ask_where_nobody_tells_which_pods_carry_it() -> None:
    """Neither the service, nor what is behind it, or only that there is nothing."""
    empty: Said = (0, "ADDED", slice_("kube-dns", {}, namespace="kube-system"))
    for said in ((), (ELSEWHERE,), (KUBE_DNS, ELSEWHERE), (KUBE_DNS, ELSEWHERE, empty)):
        assert share(of(*said)) == 1
        assert share(of(*said), layer="node") == 0


def test_where_the_pods_that_carry_dns_are_known_the_share_is_theirs() -> None:
    """None of it for pods that carry nothing, half for one of two."""
    others = {"other-5d8c7b9f44-zk2wp": ("10.1.0.9", "n2")}
    carried = {COREDNS: ("10.1.0.8", "n1")}
    assert share(of(KUBE_DNS, (0, "ADDED", slice_("kube-dns", others, namespace="kube-system")))) == 0
    assert share(of(KUBE_DNS, (0, "ADDED", slice_("kube-dns", others | carried, namespace="kube-system")))) == 0.5
