"""Checkpoints beside the reading thread."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.runtime.ledger import Ledger
from pipeline.runtime.saving import Copy, Saver


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "state.db", patience=0.1)
    yield ledger
    ledger.close()


def copy(content: bytes) -> Copy:
    return Copy({"engine": content}, [], {"at": 1}, time.perf_counter())


@pytest.mark.parametrize("beside", [False, True])
def test_a_checkpoint_is_written_and_then_said_to_be(ledger: Ledger, beside: bool) -> None:  # noqa: FBT001 (pytest's)
    """With what reading stood still for, what it took in all and how large it is; then the next may begin."""
    written: list[bool] = []
    saver = Saver(ledger, lambda: written.append(True))
    if beside:
        saver.begin_beside()
    for content in (b"first", b"second"):
        given = copy(content)
        saver.begin(given, 10.0)
        assert saver.busy
        assert saver.finished(wait=True) == (given, None)
        assert not saver.busy
        assert ledger.parts() == {"engine": content}
    assert written == [True, True]
    assert saver.last.size == len(b"second")
    assert 0 <= saver.last.still <= saver.last.cost
    assert saver.finished(wait=True) is None
    saver.close()


@pytest.mark.parametrize("beside", [False, True])
def test_what_could_not_be_written_is_handed_back(ledger: Ledger, tmp_path: Path, beside: bool) -> None:  # noqa: FBT001 (pytest's)
    """Somebody else holds the file: the copy comes back with the reason, what was saved before stays, and the next works."""
    saver = Saver(ledger, list)
    if beside:
        saver.begin_beside()
    saver.begin(copy(b"before"), 1.0)
    saver.finished(wait=True)
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        given = copy(b"held up")
        saver.begin(given, 2.0)
        found = saver.finished(wait=True)
    assert found is not None
    assert found[0] is given
    assert isinstance(found[1], StoreError)
    assert saver.last.failed
    assert ledger.parts() == {"engine": b"before"}
    saver.begin(copy(b"after"), 3.0)
    saver.finished(wait=True)
    assert not saver.last.failed
    assert ledger.parts() == {"engine": b"after"}
    saver.close()
