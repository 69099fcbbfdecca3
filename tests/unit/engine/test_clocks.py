"""Which times are believed, and of whom."""

import itertools
from collections.abc import Sequence

import pytest

from pipeline.engine.clocks import MINUTE, Clocks

Sign = tuple[str, str, str | None, Sequence[int]]
"""Stream, kind of its rows, its node, and the minutes in which it gave a sign of life."""
BOOT: Sign = ("capture.yaml", "k8s.objects", None, [0])
DAY = 24 * 60


def heard(signs: Sequence[Sign]) -> Clocks:
    clocks = Clocks()
    for stream, source, node, minutes in signs:
        clocks.hear(stream, source, node, {minute: (minute * MINUTE, minute * MINUTE) for minute in minutes})
    return clocks


@pytest.mark.parametrize(
    ("signs", "newest"),
    [
        pytest.param([BOOT, ("events", "k8s.events", None, [DAY, DAY + 3])], DAY + 3, id="objects contradict nobody"),
        pytest.param(
            [("objects", "k8s.objects", None, [DAY + 40]), ("a", "kernel", "a", [DAY]), ("events", "k8s.events", None, [DAY + 40])],
            DAY + 40,
            id="objects that change bear witness",
        ),
        pytest.param(
            [("objects", "k8s.objects", None, [9 * DAY]), ("a", "kernel", "a", [DAY])], DAY, id="objects alone are not believed"
        ),
        pytest.param(
            [("events", "k8s.events", None, [DAY - 50, DAY - 30]), ("a", "kernel", "a", range(DAY, DAY + 10))],
            DAY + 9,
            id="old events before everything else",
        ),
        pytest.param(
            [("events", "k8s.events", None, [DAY, DAY + 14]), ("a", "kernel", "a", [DAY + 7, DAY + 21])],
            DAY + 21,
            id="two that take turns, with gaps between",
        ),
        pytest.param(
            [("a", "kernel", "a", range(DAY, DAY + 10)), ("b", "kernel", "b", range(DAY + 120, DAY + 130))],
            DAY + 9,
            id="a node whose clock is ahead",
        ),
        pytest.param(
            [("a", "kernel", "a", [*range(DAY, DAY + 10), 9999 * DAY]), ("b", "kernel", "b", range(DAY, DAY + 10))],
            DAY + 9,
            id="a lone line of a far year",
        ),
        pytest.param(
            [("a", "kernel", "a", [1]), ("b", "kernel", "b", range(DAY, DAY + 10))], DAY + 9, id="a lone line of 1970"
        ),
    ],
)  # fmt: skip
def test_a_time_is_believed_by_who_stands_for_it(signs: list[Sign], newest: int) -> None:
    """The newest plausible time does not depend on the order in which streams are heard."""
    for order in itertools.permutations(signs):
        assert heard(order).newest() // MINUTE == newest
