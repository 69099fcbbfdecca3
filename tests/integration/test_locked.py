"""Another process holds one of the SQLite files: intake goes on, it is said once, and afterwards everything is there.

HEADWATER_HOLD=30 python -m pytest tests/integration/test_locked.py holds them for half a minute; CI for a few seconds.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration import living
from tests.integration.living import Lab, until

HOLD = float(os.environ.get("HEADWATER_HOLD", "4"))
PARTS = 8
"""In which the rest of the outage comes meanwhile."""
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + HOLD)]

HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute(f"BEGIN {sys.argv[2]}")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[None]:
    """A transaction of another process on a database."""
    command = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


def taken_in(lab: Lab) -> int:
    """Lines that the engine has."""
    return sum(lab.service.report()["lines"].values())


def messages(lab: Lab, file: str) -> list[str]:
    """What the service says of a locked file."""
    texts = (line.partition("level=")[2] for line in lab.service.said().splitlines())
    return [text for text in texts if f"state/{file}: database is locked" in text]


def test_what_waited_for_the_store_is_there_soon(laboratory) -> None:
    """Also where no new row comes: whoever is told of an incident wants to look at it."""
    lab = laboratory()
    with lab.inside() as inside:
        lab.play(inside, steps=range(1))
        memory = inside.service.analysis.memory
        with held(lab.folder / "state" / "incidents.db", "IMMEDIATE"):
            steps = iter(range(1, living.STEPS))
            while not memory.unsaved:
                step = next(steps)
                lab.play(inside, steps=range(step, step + 1))
            for _ in range(4):  # without rows it is looked for incidents ever more seldom
                inside.now += 20
                inside.service.turn(inside.now, living.START + inside.now)
        assert memory.unsaved
        inside.service.turn(inside.now + 6, living.START + inside.now + 6)
        assert not memory.unsaved


@pytest.mark.slow
@pytest.mark.parametrize(("file", "how"), [("incidents.db", "EXCLUSIVE"), ("state.db", "IMMEDIATE")])
def test_a_locked_database_costs_nothing(laboratory, file: str, how: str) -> None:
    """Rows are taken in while it is locked, whoever meets it says so once, and what comes of it is as ever."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab = laboratory()
    lab.service.start()
    until(lab.service.ready)
    lab.outage.write(lab.share(2))
    until(lambda: taken_in(lab) == lab.outage.written, "the first half")
    with held(lab.folder / "state" / file, how):
        began = time.monotonic()
        for part in range(PARTS):
            lab.outage.write(lab.share(2 * PARTS))
            until(lambda: taken_in(lab) == min(lab.outage.written, len(lab.outage.rows)), f"part {part} of the rest")
        until(lambda: time.monotonic() - began > HOLD)
        until(lambda: messages(lab, file), "a message")
    lab.settle(expected)
    assert lab.outcome == expected
    said = messages(lab, file)
    assert len(said) == len(set(said)), said
