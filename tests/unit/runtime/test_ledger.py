"""The ledger: a checkpoint and what is to be said, kept together or not at all."""

import dataclasses
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from pipeline.contracts.sink import Notification, as_json, from_json
from pipeline.errors import StoreError
from pipeline.runtime.ledger import DAY, KEPT, LONGEST, Intent, Ledger, Row
from tests.components import told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path)) as made:
        yield made


def intent(number: int, *, receiver: str = "chat", **changes: object) -> Intent:
    return Intent(receiver, told.notification(number=number, **changes))


def keys(rows: list[Row]) -> list[str]:
    return [row.key for row in rows]


@given(notification=told.monstrous())
def test_notifications_survive_json(notification: Notification) -> None:
    """Whatever stood in the logs; the text is one line of ASCII."""
    text = as_json(notification)
    assert text.isascii()
    assert "\n" not in text
    assert from_json(text) == notification


def test_a_checkpoint_is_kept_in_parts(ledger: Ledger, path: Path) -> None:
    """Parts that are not named stay; another process finds all of them."""
    ledger.save({"engine": b"\x00one", "sources": b"two"}, [])
    ledger.save({"engine": b"three"}, [])
    with closing(Ledger(path)) as other:
        assert other.parts() == {"engine": b"three", "sources": b"two"}


def test_what_is_to_be_said_is_kept_in_order_and_once(ledger: Ledger, path: Path) -> None:
    """A key that the receiver has already changes nothing, also when it was sent; another receiver has its own."""
    ledger.save({}, [intent(2), intent(1), intent(2), intent(2, receiver="pager")])
    ledger.sent(ledger.pending("chat")[0], {}, told.AT)
    ledger.save({}, [intent(2), intent(3)])
    with closing(Ledger(path)) as other:
        assert keys(other.pending("chat")) == ["key-1", "key-3"]
        assert keys(other.pending("pager")) == ["key-2"]
        row = other.pending("chat")[1]
        assert other.pending("chat", row.number - 1) == [row]
        assert from_json(other.content(row)) == intent(3).notification


def test_a_save_that_fails_keeps_nothing(ledger: Ledger) -> None:
    """Neither the parts nor the notifications; it may be made again."""
    bad = Intent("chat", dataclasses.replace(told.notification(), key=None))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="nothing of it was kept"):
        ledger.save({"engine": b"new"}, [intent(1), bad])
    assert (ledger.parts(), ledger.pending("chat")) == ({}, [])
    ledger.save({"engine": b"new"}, [intent(1)])
    assert (ledger.parts(), keys(ledger.pending("chat"))) == ({"engine": b"new"}, ["key-1"])


def test_attempts_are_known_before_they_end(ledger: Ledger, path: Path) -> None:
    """After a crash in the middle of one the row says that it may have been sent."""
    ledger.save({}, [intent(1)])
    (row,) = ledger.pending("chat")
    assert row.attempts == 0
    ledger.attempted(row)
    with closing(Ledger(path)) as other:
        assert other.pending("chat")[0].attempts == 1


def test_the_receipt_of_a_thread_is_that_of_its_last_delivery(ledger: Ledger) -> None:
    """And belongs to one receiver."""
    ledger.save({}, [intent(1), intent(2)])
    for row, ts in zip(ledger.pending("chat"), ("1.5", "1.6"), strict=True):
        ledger.sent(row, {"ts": ts, "missed": []}, told.AT)
        assert ledger.receipt("chat", row.thread) == {"ts": ts, "missed": []}
    assert ledger.receipt("pager", row.thread) is None
    assert ledger.pending("chat") == []


def test_failures_and_what_was_superseded_are_listed(ledger: Ledger) -> None:
    """A failure that may pass leaves the row where it is, with what happened."""
    ledger.save({}, [intent(1), intent(2), intent(3)])
    first, second, third = ledger.pending("chat")
    ledger.failed(first, "it hangs", told.AT, permanent=False)
    ledger.failed(second, "not allowed", told.AT, permanent=True)
    ledger.superseded([third], told.AT)
    assert [(row.key, row.error) for row in ledger.pending("chat")] == [("key-1", "it hangs")]
    assert [(row.key, row.error) for row in ledger.listed("failed", 10)] == [("key-2", "not allowed")]
    assert keys(ledger.listed("superseded", 10)) == ["key-3"]


def test_what_stands_is_the_last_of_each_thread_that_goes_on(ledger: Ledger) -> None:
    """For sinks that must hear it again and again."""
    ledger.save({}, [intent(1, thread="a"), intent(2, thread="a", event="updated"), intent(3, thread="b"), intent(4, thread="c")])
    for row in ledger.pending("chat")[:3]:
        ledger.sent(row, {}, told.AT)
    assert keys(ledger.standing("chat")) == ["key-2", "key-3"]
    ledger.save({}, [intent(5, thread="a", event="resolved")])
    ledger.sent(ledger.pending("chat")[-1], {}, told.AT)
    assert keys(ledger.standing("chat")) == ["key-3"]


def test_what_waits_for_others_is_dropped(ledger: Ledger) -> None:
    """As if it had never been: should the receiver come back, the same may be said to it. What was sent is kept."""
    both = [intent(1), intent(2), intent(1, receiver="pager"), intent(2, receiver="pager")]
    ledger.save({}, both)
    ledger.sent(ledger.pending("pager")[0], {}, told.AT)
    assert ledger.forget_others(["chat"]) == {"pager": 1}
    assert ledger.forget_others(["chat"]) == {}
    ledger.save({}, both)
    assert keys(ledger.pending("pager")) == ["key-2"]
    assert keys(ledger.pending("chat")) == ["key-1", "key-2"]


def test_what_is_done_goes_after_days_but_for_what_stands(ledger: Ledger) -> None:
    """Pending rows stay however old; the last of an open thread and its receipt stay long."""
    ledger.save(
        {}, [intent(1, thread="a"), intent(2, thread="a", event="updated"), intent(3, thread="b", event="resolved"), intent(4)]
    )
    *done, _ = ledger.pending("chat")
    for row in done:
        ledger.sent(row, {"of": row.key}, told.AT)
    assert ledger.retain(told.AT + KEPT) == 0
    assert ledger.retain(told.AT + KEPT + 1) == 2
    assert keys(ledger.standing("chat")) == ["key-2"]
    assert (ledger.receipt("chat", "a"), ledger.receipt("chat", "b")) == ({"of": "key-2"}, None)
    assert ledger.retain(told.AT + LONGEST + DAY) == 1
    assert keys(ledger.pending("chat")) == ["key-4"]


def test_a_file_that_is_not_ours_is_left_as_it_is(path: Path) -> None:
    """Another program's database, no database at all, one from a newer version."""
    path.parent.mkdir()
    path.write_bytes(b"precious notes, longer than a header is: " * 9)
    refused(path, "no database")
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    refused(path, "another program's database")
    path.unlink()
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA journal_mode = DELETE")
        newer.execute("PRAGMA user_version = 99")
    refused(path, "version 99")


def refused(path: Path, why: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match=why):
        Ledger(path)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_while_another_process_holds_the_file_calls_fail_soon(path: Path) -> None:
    """And succeed when it lets go; nothing is left half done."""
    with closing(Ledger(path, patience=0.01)) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds it"):
            ledger.save({"engine": b"1"}, [intent(1)])
        assert ledger.parts() == {}
        other.execute("ROLLBACK")
        ledger.save({"engine": b"1"}, [intent(1)])
        assert ledger.parts() == {"engine": b"1"}


def test_threads_share_it(ledger: Ledger) -> None:
    """Every call is whole."""
    workers = [
        threading.Thread(target=lambda n=n: [ledger.save({"p": b"%d" % n}, [intent(n * 100 + i)]) for i in range(10)])
        for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(ledger.pending("chat")) == 40


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    """A delivery that hung for longer than the process wanted to wait meets this."""
    ledger.close()
    ledger.close()
    with pytest.raises(StoreError, match="closed"):
        ledger.parts()


def test_what_a_death_left_half_copied_is_sound(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    """The process died, or the disk was full, while SQLite copied its log into the file: the first page was, the others not."""
    ledger.save({"engine": bytes(100_000)}, [])
    dead = tmp_path / "dead" / path.name
    shutil.copytree(path.parent, dead.parent, ignore=lambda *_: [f"{path.name}-shm"])
    with dead.open("r+b") as file:
        file.seek(28)  # the header's number of pages
        file.write((1000).to_bytes(4, "big"))
    with closing(Ledger(dead)) as other:
        assert other.parts() == {"engine": bytes(100_000)}
