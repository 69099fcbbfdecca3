"""Delivery with a sink that does as it is told and a clock that the test owns; at the end real threads."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.contracts.sink import Event, Notification, Receipt
from pipeline.errors import DeliveryError
from pipeline.runtime import backoff
from pipeline.runtime.ledger import Intent, Ledger
from pipeline.runtime.outbox import Outbox
from tests.components import told

CHANCE = random.Random(1)  # noqa: S311 (it spreads attempts)
PASSING = DeliveryError("it is down", retry=True)
FOR_GOOD = DeliveryError("not allowed", retry=False)
WAIT = DeliveryError("too many", retry=True, after=60.0)


@dataclass
class Scripted:
    """A sink: raises what `script` holds for a thread, next first; otherwise it succeeds. `calls` has what was tried."""

    script: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[tuple[str, bool, Any]] = field(default_factory=list)
    updates: bool = True
    done: threading.Event = field(default_factory=threading.Event)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        self.calls.append((notification.key, repeat, receipt))
        waiting = self.script.get(notification.thread)
        if waiting:
            raise waiting.pop(0)
        self.done.set()
        return {"of": notification.key}

    def close(self) -> None:
        """Nothing to let go of."""

    def keys(self) -> list[str]:
        return [key for key, _, _ in self.calls]


class Office:
    """An outbox with one receiver; `said` is what it complained of."""

    def __init__(self, path: Path, sink: Any) -> None:
        self.ledger, self.sink, self.said = Ledger(path, patience=0.01), sink, list[str]()
        self.open()

    def open(self) -> None:
        """As a restarted process does."""
        self.outbox = Outbox(
            self.ledger,
            {"chat": self.sink},
            say=self.said.append,
            chance=CHANCE,
            clock=lambda: told.NOW,
            monotonic=lambda: 0.0,
        )

    def add(self, *keys: str, event: Event = "opened", **changes: Any) -> None:
        """Notifications by `thread.number`."""
        self.ledger.save(
            {}, [Intent("chat", told.notification(event, key=k, thread=k.partition(".")[0], **changes)) for k in keys]
        )

    def step(self, now: float) -> float | None:
        return self.outbox.step("chat", now)


@pytest.fixture
def sink() -> Scripted:
    return Scripted()


@pytest.fixture
def office(tmp_path: Path, sink: Scripted) -> Iterator[Office]:
    made = Office(tmp_path / "state.db", sink)
    with closing(made.ledger):
        yield made


def test_notifications_go_out_in_order_with_the_receipt_of_the_one_before(office: Office, sink: Scripted) -> None:
    """Each once; then nothing waits."""
    office.add("a.1", "b.1")
    office.add("a.2", event="updated")
    assert office.step(0) is None
    assert sink.calls == [("a.1", False, None), ("a.2", False, {"of": "a.1"}), ("b.1", False, None)]
    assert office.step(1) is None
    assert len(sink.calls) == 3
    assert office.outbox.status()["chat"].sent == 3


def test_a_failure_holds_its_thread_and_no_other(office: Office, sink: Scripted) -> None:
    """It is tried again, marked as a repeat, before what came later."""
    sink.script = {"a": [PASSING, PASSING]}
    office.add("a.1", "a.2", "b.1")
    wait = office.step(0)
    assert sink.keys() == ["a.1", "b.1"]
    assert wait is not None
    assert 0 < wait <= 1
    again = office.step(wait)
    assert again is not None
    assert office.step(wait + again) is None
    assert sink.calls[2:] == [("a.1", True, None), ("a.1", True, None), ("a.2", False, {"of": "a.1"})]


def test_waits_grow_to_five_minutes() -> None:
    """Between nothing and twice as long as before, by chance; what the other side asks for is kept up to an hour."""
    for failures, most in ((1, 1), (2, 2), (3, 4), (9, 256), (12, 300), (5000, 300)):
        assert 0.9 * most < max(backoff.wait(failures, CHANCE) for _ in range(400)) <= most
    assert min(backoff.wait(12, CHANCE) for _ in range(400)) < 10
    assert backoff.wait(1, CHANCE, 60.0) == 60
    assert backoff.wait(1, CHANCE, 1e9) == 3600


def test_retry_after_holds_the_whole_receiver(office: Office, sink: Scripted) -> None:
    """Its limit is not that of one thread."""
    sink.script = {"a": [WAIT]}
    office.add("a.1", "b.1")
    assert office.step(0) == 60
    assert sink.keys() == ["a.1"]
    assert office.step(59) == 1
    assert office.step(60) is None
    assert sink.keys() == ["a.1", "a.1", "b.1"]


@pytest.mark.parametrize("error", [FOR_GOOD, ValueError("a bug")])
def test_what_fails_for_good_is_given_up(office: Office, sink: Scripted, error: Exception) -> None:
    """Counted, said once, kept for people to see; the thread goes on with its next."""
    sink.script = {"a": [error], "b": [error]}
    office.add("a.1", "b.1", "a.2")
    assert office.step(0) is None
    assert sink.keys() == ["a.1", "a.2", "b.1"]
    status = office.outbox.status()["chat"]
    assert (status.sent, status.failed, status.pending) == (1, 2, 0)
    assert [row.key for row in office.ledger.listed("failed", 9)] == ["b.1", "a.1"]
    assert all("given up" in text and str(error) in text for text in office.said)


def test_trouble_that_lasts_is_said_once(office: Office, sink: Scripted) -> None:
    """Then only counted, until a delivery succeeds."""
    sink.script = {"a": [PASSING] * 5}
    office.add("a.1")
    now = 0.0
    while (wait := office.step(now)) is not None:
        status = office.outbox.status()["chat"]
        assert (status.pending, status.down_since, status.error) == (1, told.NOW, "it is down")
        now += wait
    assert len(office.said) == 1
    status = office.outbox.status()["chat"]
    assert (status.sent, status.repeated, status.down_since, status.error) == (1, 5, None, "")


def test_after_a_crash_in_the_middle_it_may_have_been_sent(office: Office, sink: Scripted) -> None:
    """Attempts are kept over a restart, and everything is due at once."""
    sink.script = {"a": [PASSING] * 8}
    office.add("a.1")
    now = 0.0
    for _ in range(8):
        now += office.step(now) or 0
    office.open()
    assert office.step(0) is None
    assert sink.calls[-1] == ("a.1", True, None)


def test_only_the_newest_state_is_sent(office: Office, sink: Scripted) -> None:
    """Updates behind which more comes are left out, a beginning that is over as well; what was attempted goes first."""
    sink.script = {"a": [WAIT]}
    office.add("a.1")
    office.step(0)
    office.add("b.1", "c.1")
    office.add("a.2", "a.3", "b.2", event="updated")
    office.add("b.3", event="resolved")
    office.add("c.2", event="updated")
    assert office.step(60) is None
    assert sink.keys() == ["a.1", "a.1", "a.3", "b.3", "c.1", "c.2"]
    assert sorted(row.key for row in office.ledger.listed("superseded", 9)) == ["a.2", "b.1", "b.2"]


class Locking(Scripted):
    """Another process takes hold of the ledger while something is being delivered."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        if not self.calls:
            self.other.execute("BEGIN IMMEDIATE")
        return super().deliver(notification, receipt, repeat=repeat, now=now)


def test_a_locked_ledger_sends_nothing_twice(tmp_path: Path) -> None:
    """Nothing is begun that cannot be noted; what succeeded is noted first when the lock is gone."""
    office = Office(tmp_path / "state.db", sink := Locking(tmp_path / "state.db"))
    with closing(office.ledger), closing(sink.other):
        office.add("a.1", "b.1")
        assert [office.step(0), office.step(1)] == [1.0, 1.0]
        assert sink.keys() == ["a.1"]
        assert office.outbox.status()["chat"].down_since is None
        sink.other.execute("ROLLBACK")
        assert office.step(2) is None
        assert sink.calls == [("a.1", False, None), ("b.1", False, None)]
        assert office.ledger.pending("chat") == []
        assert len(office.said) == 1


def test_what_goes_on_is_sent_again_where_the_sink_wants_it(office: Office, sink: Scripted) -> None:
    """As Alertmanager must hear it; also after a restart, at once, and no more when it is over."""
    sink.resend = 300.0  # type: ignore[attr-defined]
    office.open()
    office.add("a.1", "b.1")
    assert office.step(0) == 300
    office.add("b.2", event="resolved")
    assert office.step(10) == 290
    sink.script = {"a": [PASSING]}
    assert 0 < (office.step(300) or 0) <= 1
    assert office.step(302) == 300
    office.open()
    assert office.step(1000) == 300
    assert sink.keys() == ["a.1", "b.1", "b.2", "a.1", "a.1", "a.1"]
    office.add("a.2", event="resolved")
    assert office.step(1001) is None


def test_what_a_delivery_missed_is_shown(office: Office, sink: Scripted) -> None:
    """A replica that did not take it."""
    office.sink.deliver = lambda *_, **__: {"missed": ["replica 2 is down"]}
    office.add("a.1")
    office.step(0)
    assert office.outbox.status()["chat"].missed == ("replica 2 is down",)


class Hanging(Scripted):
    """Hangs in a delivery until it is let go of."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.released = threading.Event(), threading.Event()

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        self.inside.set()
        self.released.wait(30)
        return super().deliver(notification, receipt, repeat=repeat, now=now)


def test_threads_deliver_side_by_side(tmp_path: Path) -> None:
    """One that hangs holds neither the others nor the end of the process; it is a repeat after the restart."""
    hanging, good = Hanging(), Scripted()
    with closing(Ledger(tmp_path / "state.db")) as ledger:
        outbox = Outbox(ledger, {"hangs": hanging, "works": good})
        outbox.start()
        ledger.save({}, [Intent(name, told.notification(key="a.1")) for name in ("hangs", "works")])
        outbox.wake()
        assert hanging.inside.wait(30)
        assert good.done.wait(30)
        assert not outbox.drain(0.01)
        assert not outbox.stop(0.05)
        assert [row.attempts for row in ledger.pending("hangs")] == [1]
        hanging.released.set()
        assert outbox.stop(30)
    assert good.keys() == ["a.1"]


def test_what_waits_for_a_receiver_that_is_gone_is_dropped(tmp_path: Path) -> None:
    """The configuration has changed over a restart: that is said, once, and does not wait for ever."""
    said: list[str] = []
    with closing(Ledger(tmp_path / "state.db")) as ledger:
        ledger.save({}, [Intent("old", told.notification(key=key)) for key in ("a.1", "a.2")])
        for _ in range(2):
            outbox = Outbox(ledger, {"chat": Scripted()}, say=said.append)
            outbox.start()
            assert outbox.stop(30)
        assert ledger.listed("pending", 9) == []
    assert said == ["sink old: it is no longer configured; what waited for it is dropped: 2 in all"]


def test_drain_waits_until_all_is_said(tmp_path: Path) -> None:
    """Then nothing is pending."""
    sinks = {"one": Scripted(), "two": Scripted({"t": [DeliveryError("again", retry=True, after=0.0)]})}
    with closing(Ledger(tmp_path / "state.db")) as ledger:
        outbox = Outbox(ledger, sinks)
        outbox.start()
        ledger.save({}, [Intent(name, told.notification(key="t.1", thread="t")) for name in sinks])
        assert outbox.drain(30)
        assert outbox.stop(30)
        assert [row for name in sinks for row in ledger.pending(name)] == []
    assert [sink.keys() for sink in sinks.values()] == [["t.1"], ["t.1", "t.1"]]
