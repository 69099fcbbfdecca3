"""The battery for every sink there is: what `pipeline.contracts.sink` promises, tried on each against a local server.

Sinks are found by walking, so a new one is tested without an edit here. It needs `tests/components/sinks/<name>.py` (see
`sinkway.py`).
"""

import importlib
import json
import socket
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from pipeline import contracts
from pipeline.contracts import Context
from pipeline.contracts.sink import Event, Notification, Receipt
from pipeline.errors import DeliveryError
from tests.components import told
from tests.components.receiver import Cut, Receiver, Reply
from tests.components.sinkway import Scene, Way

WAYS = [
    (name, way) for name in contracts.names("sinks") for way in importlib.import_module(f"tests.components.sinks.{name}").WAYS
]
every = pytest.mark.parametrize(("name", "way"), WAYS, ids=[way.name for _, way in WAYS])
REMOTE = [(name, way) for name, way in WAYS if way.remote]
every_remote = pytest.mark.parametrize(("name", "way"), REMOTE, ids=[way.name for _, way in REMOTE])


def make(name: str, way: Way, url: str, **more: Any) -> Any:
    """A sink as the runtime makes it."""
    module = contracts.find("sinks", name)
    return module.create(module.Settings(**way.settings(url), **more), Context("lab", Path(), "oncall"))


def deliver(sink: Any, notification: Notification, receipt: Receipt | None = None, *, repeat: bool = False) -> Receipt:
    """Deliver, with a receipt that went through JSON as the outbox keeps it."""
    kept = None if receipt is None else json.loads(json.dumps(receipt))
    return sink.deliver(notification, kept, repeat=repeat, now=told.NOW)


@every
def test_what_is_told_names_the_disaster_its_place_and_what_to_do(
    name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary, the entity and the first command arrive."""
    sink = make(name, way, receiver.url)
    deliver(sink, told.notification())
    ((_, text),) = way.seen(Scene(receiver, sink, capsys.readouterr().out))
    for said in ("Connection tracking table full", "node-b", "sysctl net.netfilter.nf_conntrack_count"):
        assert said in text


@every
def test_an_incident_is_followed_to_its_end(name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Opened, updated where the sink can follow, resolved: the target takes it for over."""
    sink = make(name, way, receiver.url)
    receipt = None
    events: list[Event] = ["opened", "updated", "resolved"] if sink.updates else ["opened", "resolved"]
    for number, event in enumerate(events):
        receipt = deliver(sink, told.notification(event, number), receipt)
    assert way.over(Scene(receiver, sink, capsys.readouterr().out))


@every
def test_what_became_a_part_of_another_says_so(
    name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A symptom that was told of on its own is closed with the name of its cause."""
    sink = make(name, way, receiver.url)
    root, (symptom, *_) = told.recorded()
    alone = {"thread": "symptom-1", "symptoms": ()}
    receipt = deliver(sink, told.notification(incident=symptom, **alone))
    deliver(sink, told.notification("folded", 2, incident=symptom, part_of=root, **alone), receipt)
    texts = [text for _, text in way.seen(Scene(receiver, sink, capsys.readouterr().out))]
    assert root["summary"] in texts[-1]


@every
def test_texts_without_an_incident_are_told(name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    """A test says that nothing is wrong, a digest has its texts."""
    sink = make(name, way, receiver.url)
    deliver(sink, told.notification("test", thread="test-1"))
    of_day = {"thread": "digest-1", "digest": ("first held back", "second held back")}
    receipt = deliver(sink, told.notification("digest", 2, **of_day))
    printed = capsys.readouterr().out
    texts = [text for _, text in way.seen(Scene(receiver, sink, printed))]
    assert "nothing is wrong" in texts[0]
    assert "first held back" in texts[-1]
    assert "second held back" in texts[-1]
    deliver(sink, told.notification("resolved", 3, **of_day), receipt)
    *_, (_, last) = way.seen(Scene(receiver, sink, printed + capsys.readouterr().out))
    assert "second held back" in last
    assert "RESOLVED: DIGEST" in last


@every
def test_a_repeat_is_recognised(name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    """The same notification again, as after a crash: the target can tell, or sees it once."""
    sink = make(name, way, receiver.url)
    deliver(sink, told.notification())
    deliver(sink, told.notification(), repeat=True)
    seen = way.seen(Scene(receiver, sink, capsys.readouterr().out))
    assert len({identity for identity, _ in seen}) == (2 if way.doubles else 1)


@every
@given(notification=told.monstrous())
def test_limits_hold_for_monstrous_incidents(name: str, way: Way, notification: Notification) -> None:
    """Whatever stood in the logs, and however much: what would be sent is what the target takes."""
    way.limits(contracts.find("sinks", name).render(notification))


@every
def test_settings_are_strict_and_frozen(name: str, way: Way) -> None:
    """An unknown key is an error that does not show what was given; nothing changes later."""
    module = contracts.find("sinks", name)
    given_settings = way.settings("http://127.0.0.1:1")
    settings = module.Settings(**given_settings)
    with pytest.raises(ValidationError) as caught:
        module.Settings(**given_settings, chanel="x")
    assert "chanel" in str(caught.value)
    with pytest.raises(ValidationError):
        settings.anything = 1
    for secret in way.secrets:
        assert secret not in f"{settings!r} {settings} {caught.value} {settings.model_dump_json()}"


@every
def test_making_and_closing_need_nobody(name: str, way: Way) -> None:
    """A server that is down is no reason not to start; closing twice does no harm."""
    sink = make(name, way, "http://127.0.0.1:1")
    sink.close()
    sink.close()
    assert isinstance(sink.updates, bool)
    assert not [secret for secret in way.secrets if secret in repr(sink) + repr(vars(sink))]


ANSWERS: dict[str, tuple[Reply | Cut, bool, float | None]] = {
    "too many": (Reply(429, b'{"error":"slow down"}', {"Retry-After": "7"}), True, 7.0),
    "too many, until a date": (Reply(429, b"", {"Retry-After": "Mon, 23 Nov 2026 04:41:50 GMT"}), True, 60.0),
    "too many, until a time past": (Reply(429, b"", {"Retry-After": "Mon, 23 Nov 2026 04:00:00 GMT"}), True, 0.0),
    "too many, until nonsense": (Reply(429, b"", {"Retry-After": "soon"}), True, None),
    "broken": (Reply(500, b"stack trace"), True, None),
    "unavailable": (Reply(503, b"", {"Retry-After": "120"}), True, 120.0),
    "not understood": (Reply(400, b'{"errors":["x"]}'), False, None),
    "not allowed": (Reply(403, b"invalid_token"), True, 300.0),
    "not found": (Reply(404), True, 300.0),
    "gone for good": (Reply(410), False, None),
    "moved": (Reply(302, b"", {"Location": "https://user:pw@other.example/login?next=secret"}), False, None),
    "no answer": (Cut.HANG, True, None),
    "an answer without end": (Cut.DRIP, True, None),
    "cut off": (Cut.DROP, True, None),
    "taken, then cut off": (Cut.TAKEN, True, None),
}


@every_remote
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_failure_says_whether_to_try_again(name: str, way: Way, receiver: Receiver, answer: str) -> None:
    """`retry` and `after` are right; the message names the sink and the host, and no secret is in it or in what it chains."""
    scripted, retry, after = ANSWERS[answer]
    receiver.script = [scripted]
    sink = make(name, way, receiver.url, timeout=0.3 if isinstance(scripted, Cut) else 15)
    with pytest.raises(DeliveryError) as caught:
        deliver(sink, told.notification())
    assert (caught.value.retry, caught.value.after) == (retry, after)
    assert "sink oncall" in str(caught.value)
    assert receiver.url in str(caught.value)
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not [secret for secret in (*way.secrets, "user:pw", "next=secret") if secret in whole]


@every_remote
def test_secrets_that_come_back_are_masked(name: str, way: Way, receiver: Receiver) -> None:
    """A server that quotes the request in its error does not put our secrets into our logs."""
    sink = make(name, way, receiver.url)
    receiver.script = [Reply(500, echo=True)]
    with pytest.raises(DeliveryError) as caught:
        deliver(sink, told.notification())
    assert "***" in str(caught.value)
    assert not [secret for secret in way.secrets if secret in str(caught.value)]


@every_remote
def test_after_a_lost_answer_it_is_told_once(name: str, way: Way, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    """The message was taken and the answer lost: the repeat makes no second one."""
    receiver.script = [Cut.TAKEN]
    sink = make(name, way, receiver.url)
    with pytest.raises(DeliveryError):
        deliver(sink, told.notification())
    deliver(sink, told.notification(), repeat=True)
    seen = way.seen(Scene(receiver, sink, capsys.readouterr().out))
    assert len({identity for identity, _ in seen}) == (2 if way.doubles else 1)


@every_remote
def test_nobody_there(name: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port, a host that is none: worth another try, and the message says what to look at."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url, hint in ((f"http://127.0.0.1:{port}", "Connection refused"), ("http://[::1%25nosuch]", "no such host")):
        with pytest.raises(DeliveryError, match=hint) as caught:
            deliver(make(name, way, url), told.notification())
        assert caught.value.retry


@pytest.mark.parametrize(("name", "way"), WAYS[:1])
def test_every_sink_is_in_the_battery(name: str, way: Way) -> None:
    """No sink is without a way."""
    assert {found for found, _ in WAYS} == set(contracts.names("sinks"))
