"""The service is killed at random moments, and what comes of an outage is what would have come of it undisturbed.

More kills than CI does: HEADWATER_KILLS=100 python -m pytest tests/integration/test_survival.py -k kills -n 2
HEADWATER_SEED=N repeats the moments of a run, as far as a machine can.
"""

import os
import random
import time

import pytest

from tests.integration import living
from tests.integration.living import Lab

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("HEADWATER_KILLS", "8"))
LIFE = 2.5
"""Seconds of the longest life: the shortest end before the service has read its rules."""
PIECES = 20
"""Times that rows are written in a life."""
each_capture = pytest.mark.parametrize("name", ["conntrack-table-full", "policy-dns-egress-forgotten"])
patient = pytest.mark.timeout(120 + 8 * KILLS)


def seed() -> int:
    """Drawn anew for each test."""
    return int(os.environ.get("HEADWATER_SEED") or random.randrange(2**32))  # noqa: S311 (it guards nothing)


def live(lab: Lab, seconds: float, rows: int) -> None:
    """A life of the service that ends with kill -9; so many rows are written meanwhile, evenly."""
    lab.service.start()
    began, written = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        due = round(rows * passed / seconds)
        lab.outage.write(due - written)
        written = due
        time.sleep(seconds / PIECES)
    lab.outage.write(rows - written)
    lab.service.kill()


@each_capture
@patient
def test_kills_change_nothing(laboratory, name: str) -> None:
    """kill -9 at random moments: the same incidents with the same evidence, and the same last word about each root."""
    expected = living.undisturbed(name)
    lab, number = laboratory(name), seed()
    chance = random.Random(number)  # noqa: S311 (as above)
    for _ in range(KILLS):
        live(lab, chance.uniform(0, LIFE), lab.share(KILLS + 1))
    lab.service.start()
    lab.settle(expected)
    assert lab.outcome == expected, f"HEADWATER_SEED={number}"
