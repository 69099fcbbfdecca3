"""Who owned an address as of a time, where only EndpointSlices tell of pods."""

import itertools
from collections.abc import Sequence

import polars as pl
import pytest

from pipeline.engine.enrich import enrich
from pipeline.engine.topology import Topology
from pipeline.model import columns
from tests.unit.engine.said import Said, minute, node_of, of, pod, read, slice_

CART, PAY = "cart-7d8f9c6b54-x2kqp", "pay-7b9c5d6f44-h8vnd"


def owners(
    known: Topology, minutes: Sequence[float], address: str = "10.1.0.7"
) -> list[tuple[str | None, str | None, bool | None]]:
    """Pod and node of a client's address at each of the times, and whether it had given the address back."""
    rows = pl.DataFrame(
        {"@timestamp": [minute(at) for at in minutes], "client.address": [address] * len(minutes)},
        schema_overrides={"@timestamp": columns.TIME},
    )
    return enrich(rows, known).select("client.k8s.pod.name", "client.k8s.node.name", "client.former").rows()


def test_an_address_is_free_when_it_has_left_all_slices() -> None:
    """Owned from the first slice that names it to the last that does, then for 15 minutes by its former owner, then by nobody."""
    with_cart: dict[str, tuple[str, str]] = {CART: ("10.1.0.7", "n1")}
    known = of(
        (0, "ADDED", slice_("cart", {})), (1, "MODIFIED", slice_("cart", with_cart)), (5, "MODIFIED", slice_("cart", {})),
        (2, "ADDED", slice_("cart-v6", with_cart)), (8, "DELETED", slice_("cart-v6", with_cart)),
    )  # fmt: skip
    there, former, nobody = (CART, "n1", False), (CART, "n1", True), (None, None, None)
    assert owners(known, [0.5, 1, 6, 7.9, 8, 23, 23.1]) == [nobody, there, there, there, former, former, nobody]


def test_an_address_that_another_slice_names_has_a_new_owner() -> None:
    """What was seen cuts what is only guessed: that a slice named the address before it was seen, since it was created."""
    known = of(
        (0, "ADDED", slice_("cart", {CART: ("10.1.0.7", "n1")}, created=-60)),
        (5, "MODIFIED", slice_("cart", {}, created=-60)),
        (6, "MODIFIED", slice_("pay", {PAY: ("10.1.0.7", "n2")}, created=-90)),
    )
    cart, former, pay = (CART, "n1", False), (CART, "n1", True), (PAY, "n2", False)
    assert owners(known, [-75, -59, 4, 5, 6, 60]) == [pay, cart, cart, former, pay, pay]


def test_pods_of_slices_are_found_by_node_and_workload() -> None:
    """Also one that has the address of its node, which stays the node's."""
    known = of(
        (0, "ADDED", slice_("cart", {CART: ("10.1.0.7", "n1"), PAY: ("10.9.0.1", "n1")})), (1, "ADDED", node_of("10.9.0.1"))
    )
    assert [key.name for key in known.pods_on("n1")] == [CART, PAY]
    assert [key.name for key in known.pods_of("shop", "cart")] == [CART]
    assert sorted(known.pods().rows()) == [("shop", CART, "n1", "cart"), ("shop", PAY, "n1", "pay")]
    assert owners(known, [2], "10.9.0.1") == [(None, "n1", False)]


def test_a_pod_that_was_seen_speaks_for_itself() -> None:
    """Slices that were never put right do not bring it back, however long it is gone."""
    known = of(
        (0, "ADDED", slice_("cart", {CART: ("10.1.0.7", "n1")}, created=-60)),
        (1, "ADDED", pod(CART, "10.1.0.7", "n1", created=-5)),
        (2, "DELETED", pod(CART, "10.1.0.7", "n1", created=-5)),
    )
    assert owners(known, [-6, 1, 3, 30]) == [(None, None, None), (CART, "n1", False), (CART, "n1", True), (None, None, None)]
    known.forget(int(minute(60).timestamp() * 1e6))
    known.add([read((61, "ADDED", slice_("other", {})))])
    assert owners(known, [90]) == [(None, None, None)]


SAID: tuple[Said, ...] = (
    (0, "ADDED", slice_("cart", {CART: ("10.1.0.7", "n1")}, created=-60)),
    (4, "MODIFIED", slice_("cart", {}, created=-60)),
    (3, "ADDED", slice_("pay", {PAY: ("10.1.0.7", "n2")}, created=-90)),
    (5, "ADDED", pod(PAY, "10.1.0.7", "n2", created=2)),
    (6, "ADDED", node_of("10.1.0.7", created=1)),
)


@pytest.mark.parametrize("order", [*itertools.permutations(SAID)], ids=lambda order: " ".join(str(said[0]) for said in order))
def test_what_was_known_of_the_time_before_a_change_stays(order: Sequence[Said]) -> None:
    """In any order: nothing is otherwise before the time that `add` gives, and all ends the same."""
    times = [-95.0, -75, -30, 0, 1, 2, 3, 3.5, 4, 5, 6, 30]
    known, before = Topology(), owners(Topology(), times)
    for said in order:
        since = known.add([read(said)])
        assert since is not None
        after = owners(known, times)
        early = [at for at, time in enumerate(times) if minute(time).timestamp() * 1e6 < since]
        assert [after[at] for at in early] == [before[at] for at in early]
        before = after
    assert before == owners(of(*SAID), times)
