"""The outbox and real sinks against a server that plays Slack and the like and misbehaves: everything arrives, and arrives once."""

import importlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import contracts
from pipeline.contracts import Context
from pipeline.contracts.sink import Event
from pipeline.runtime.ledger import Intent, Ledger
from pipeline.runtime.outbox import Outbox
from tests.components import told
from tests.components.receiver import Cut, Receiver, Reply, running
from tests.components.sinkway import Scene, Way

pytestmark = pytest.mark.integration

WAYS = [
    (name, way)
    for name in contracts.names("sinks")
    for way in importlib.import_module(f"tests.components.sinks.{name}").WAYS
    if way.remote and not way.doubles
]
every = pytest.mark.parametrize(("name", "way"), WAYS, ids=[way.name for _, way in WAYS])
SLACK = next((name, way) for name, way in WAYS if way.name == "slack bot")
HOOK = next((name, way) for name, way in WAYS if way.name == "webhook")
FAULTS: dict[str, Reply | Cut] = {
    "too many": Reply(429, b"", {"Retry-After": "7"}),
    "broken": Reply(500),
    "broken, but taken": Reply(500, taken=True),
    "no answer": Cut.HANG,
    "cut off": Cut.DROP,
    "taken, then cut off": Cut.TAKEN,
}
LIFE: tuple[Event, ...] = ("opened", "updated", "resolved")
REVOKED = Reply(200, b'{"ok":false,"error":"token_revoked"}')


class Post:
    """An outbox with sinks of its own; times are the test's. `said` is what it complained of."""

    def __init__(self, path: Path, sinks: Mapping[str, Any]) -> None:
        self.ledger, self.sinks, self.said, self.now = Ledger(path / "state.db"), sinks, list[str](), 0.0
        self.open()

    def open(self) -> None:
        """As a restarted process does."""
        chance = random.Random(1)  # noqa: S311 (it spreads attempts)
        clock = lambda: told.NOW  # noqa: E731 (one line)
        self.outbox = Outbox(
            self.ledger, self.sinks, say=self.said.append, chance=chance, clock=clock, monotonic=lambda: self.now
        )

    def send(self, event: Event, number: int, thread: str = "a", **changes: Any) -> None:
        """To everybody."""
        made = told.notification(event, number, key=f"{thread}.{number}.{event}", thread=thread, **changes)
        self.ledger.save({}, [Intent(name, made) for name in self.sinks])

    def step(self) -> list[float]:
        """Deliver what is due; gives the waits."""
        return [wait for name in self.sinks if (wait := self.outbox.step(name, self.now)) is not None]

    def settle(self) -> None:
        """Until nothing waits."""
        while waits := self.step():
            self.now += max(waits)


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes an outbox, each with a ledger of its own."""
    monkeypatch.setenv("NO_PROXY", "*")
    made: list[Post] = []

    def make(**sinks: Any) -> Post:
        folder = tmp_path / str(len(made))
        made.append(Post(folder, sinks))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def sink(which: tuple[str, Way], url: str, timeout: float = 20.0) -> Any:
    name, way = which
    module = contracts.find("sinks", name)
    made = module.create(module.Settings(**way.settings(url), timeout=timeout), Context("lab", Path(), name))
    if hasattr(made, "resend"):
        made.resend = None  # what is sent again for its own sake is tested elsewhere
    return made


def seen(way: Way, receiver: Receiver) -> list[tuple[str, str]]:
    """What was told, without repeats that the other side recognises."""
    return list(dict.fromkeys(way.seen(Scene(receiver, None, ""))))


@every
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_the_end_is_the_same(name: str, way: Way, fault: str, post: Any) -> None:
    """Each request of an incident's life fails in turn: after the repeats the other side holds what it would hold without."""
    with running() as receiver:
        live(post(one=sink((name, way), receiver.url)))
        expected, requests = seen(way, receiver), len(receiver.requests)
    for number in range(requests):
        with running() as receiver:
            receiver.script = [*[None] * number, FAULTS[fault]]
            # Only what never answers may run into the time limit, on however slow a machine.
            outbox = post(one=sink((name, way), receiver.url, 1.0 if FAULTS[fault] is Cut.HANG else 20.0))
            live(outbox)
            assert seen(way, receiver) == expected
            status = outbox.outbox.status()["one"]
            assert (status.sent, status.failed, status.repeated, status.pending) == (3, 0, 1, 0)
            assert len(outbox.said) == 1


def live(post: Post) -> None:
    for number, event in enumerate(LIFE):
        post.send(event, number)
        post.settle()


def test_retry_after_is_kept(post: Any) -> None:
    """Nothing is asked before, by nobody of that receiver."""
    with running() as receiver:
        receiver.script = [Reply(429, b"", {"Retry-After": "7"})]
        outbox = post(hook=sink(HOOK, receiver.url))
        outbox.send("opened", 1, "a")
        outbox.send("opened", 1, "b")
        assert outbox.step() == [7]
        outbox.now = 6.9
        outbox.step()
        assert len(receiver.requests) == 1
        outbox.now = 7.0
        assert outbox.step() == []
        assert len(receiver.requests) == 3


def test_slack_is_asked_for_the_key_before_a_repeat(post: Any) -> None:
    """Also by the next process: the attempt was noted before it was made."""
    with running() as receiver:
        receiver.script = [Cut.TAKEN]
        outbox = post(slack=sink(SLACK, receiver.url))
        outbox.send("opened", 1)
        outbox.step()
        outbox.open()
        outbox.settle()
        first, look, *_ = receiver.requests
        assert first.path.endswith("chat.postMessage")
        assert "conversations.history" in look.target
        assert "include_all_metadata=true" in look.target
        (message,) = receiver.slack.top()
        assert message["metadata"]["event_payload"]["key"] == "a.1.opened"


def test_a_token_that_is_revoked_in_mid_incident(post: Any) -> None:
    """One clear message; the other receiver hears everything; with a new token the end is told, in the message of the incident."""
    with running() as receiver, running() as other:
        outbox = post(slack=sink(SLACK, receiver.url), hook=sink(HOOK, other.url))
        outbox.send("opened", 1)
        outbox.settle()
        receiver.script = [REVOKED] * 3
        for number in (2, 3, 4):
            outbox.send("updated", number)
            outbox.step()
        outbox.send("resolved", 5)
        outbox.now += max(outbox.step())
        outbox.step()
        (said,) = outbox.said
        assert "the token was revoked: install the app again" in said
        status = outbox.outbox.status()
        assert (status["slack"].failed, status["slack"].sent, status["hook"].sent) == (0, 1, 5)
        assert status["slack"].down_since == told.NOW
        assert len(receiver.requests) == 4  # two for the beginning; then one every five minutes, however much waits
        outbox.settle()
        (message,) = receiver.slack.top()
        assert "RESOLVED" in message["text"]
        assert len(other.taken) == 5


def test_an_address_that_resolves_to_nothing(post: Any) -> None:
    """Said once however long it lasts, then only counted; nothing is lost and the others go on."""
    with running() as other:
        outbox = post(lost=sink(HOOK, "http://[::1%25nosuch]"), slack=sink(SLACK, other.url))
        outbox.send("opened", 1)
        for _ in range(5):
            outbox.now += max(outbox.step())
        (said,) = outbox.said
        assert "no such host" in said
        assert "tried again until it succeeds" in said
        status = outbox.outbox.status()
        assert (status["lost"].pending, status["lost"].repeated, status["slack"].sent) == (1, 4, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("which", [SLACK, HOOK], ids=["slack", "webhook"])
def test_a_server_that_fails_all_the_time(which: tuple[str, Way], seed: int, post: Any) -> None:
    """Half of all requests, in any way, with restarts in between: every incident ends as told once."""
    chance = random.Random(seed)  # noqa: S311 (it makes trouble)
    threads = [f"t{number}" for number in range(4)]
    with running() as receiver:
        outbox = post(one=sink(which, receiver.url))
        for (number, event), thread in itertools.product(enumerate(LIFE), threads):
            outbox.send(event, number, thread)
            receiver.script = trouble(chance)
            outbox.now += max(outbox.step(), default=0.0)
            if chance.random() < 0.3:
                outbox.open()
        receiver.script = []
        outbox.settle()
        if which is HOOK:
            last = {request.json["data"]["thread"]: request.json["type"] for request in receiver.taken}
            assert last == dict.fromkeys(threads, "incident.resolved")
            return
        messages = receiver.slack.top()
        assert [("RESOLVED" in message["text"], ends(receiver, message)) for message in messages] == [(True, 1)] * len(threads)


def ends(receiver: Receiver, message: Mapping[str, Any]) -> int:
    """How often the end is said below a message."""
    return sum(reply["text"].startswith("✅") for reply in receiver.slack.thread(message["ts"]))


def trouble(chance: random.Random) -> list[Reply | Cut | None]:
    faults: Sequence[Reply | Cut] = [fault for fault in FAULTS.values() if fault is not Cut.HANG]
    return [chance.choice(faults) if chance.random() < 0.5 else None for _ in range(4)]
