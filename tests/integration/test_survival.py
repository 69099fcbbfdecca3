"""The service is killed at random moments, and what comes of an outage is what would have come of it undisturbed.

More kills than CI does: HEADWATER_KILLS=100 python -m pytest tests/integration/test_survival.py -k kills -n 2
HEADWATER_SEED=N repeats the moments of a run, as far as a machine can.
"""

import contextlib
import gzip
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime.ledger import Ledger
from tests.integration import living
from tests.integration.living import Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KILLS = int(os.environ.get("HEADWATER_KILLS", "8"))
HARD = KILLS // 2
"""Of those after which more happens than a new start."""
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


def saved(lab: Lab) -> dict[str, Any]:
    """Where everything was read to at the last checkpoint."""
    with contextlib.closing(Ledger(lab.folder / "state" / "state.db")) as ledger:
        place = ledger.parts().get("place")
    return json.loads(place)["positions"] if place else {"log": {"offset": 0}, "sources": {}}


def rotate(lab: Lab, chance: random.Random) -> None:
    """As logrotate does it with `create` and `compress`, some of the files."""
    for path in sorted(lab.outage.folder.rglob("*")):
        if path.suffix in (".log", ".jsonl") and chance.random() < 0.5:
            step_on(path)


def step_on(path: Path) -> None:
    """The log becomes `.1`, what was that is compressed as `.2.gz`, and those behind it move on."""
    for number in range(99, 1, -1):
        older = path.with_name(f"{path.name}.{number}.gz")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}.gz"))
    last = path.with_name(f"{path.name}.1")
    if last.exists():
        path.with_name(f"{path.name}.2.gz").write_bytes(gzip.compress(last.read_bytes()))
        last.unlink()
    path.rename(last)


def tear(lab: Lab, chance: random.Random) -> int:
    """Cut the log somewhere behind the last checkpoint and leave half a frame there; the bytes that are gone."""
    safe = saved(lab)["log"]["offset"]
    segments = sorted((lab.folder / "state" / "log").glob("*.log"))
    if not segments:
        return 0
    last = segments[-1]
    size = last.stat().st_size
    left = chance.randint(min(size, max(0, safe - int(last.stem))), size)
    os.truncate(last, left)
    with last.open("ab") as file:
        file.write(chance.randbytes(chance.randint(1, 100)))
    return size - left + 1


@pytest.mark.parametrize("keep", [False, True], ids=["followed", "kept"])
@patient
def test_rotation_and_torn_logs_between_kills_change_nothing(laboratory, *, keep: bool) -> None:
    """Files are rotated and compressed while the process is down, and the local log loses its tail."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab, number = laboratory(keep=keep), seed()
    lab.change(log={"type": "segments", "segment_bytes": 1 << 19, "retention": {"age": "1d", "size": "1GiB"}})
    chance = random.Random(number)  # noqa: S311 (as above)
    lab.outage.write(lab.share(HARD + 2))
    lab.service.start()
    living.until(lab.service.ready)  # on a busy machine none of the lives below may come as far as its first turn
    lab.service.kill()
    torn = tear(lab, chance) if keep else 0
    for _ in range(HARD):
        live(lab, chance.uniform(0, LIFE), lab.share(HARD + 2))
        rotate(lab, chance)
        torn += tear(lab, chance) if keep else 0
    lab.service.start()
    lab.settle(expected)
    assert lab.outcome == expected, f"HEADWATER_SEED={number}"
    assert bool(torn) == keep, f"HEADWATER_SEED={number}"
