"""The generic webhook: its signature, its size, its end."""

import json
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from connectors.sinks import webhook
from pipeline.contracts import Context
from pipeline.errors import DeliveryError
from tests.components import told
from tests.components.receiver import Receiver, Reply
from tests.components.sinks.webhook import SECRET

OTHER = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="  # of a test


def make(receiver: Receiver, **more: Any) -> webhook.Webhook:
    return webhook.create(webhook.Settings(url=f"{receiver.url}/in?token=x", **more), Context("lab", told.CAPTURE, "oncall"))


def test_the_signature_is_that_of_the_standard() -> None:
    """A vector that was computed apart from this code."""
    body = b'{"type":"incident.opened","timestamp":"2026-03-01T10:05:00Z","data":{"id":"inc-1"}}'
    assert webhook.signed((SecretStr(SECRET),), "msg_test_1", 1772359500, body) == {
        "webhook-id": "msg_test_1",
        "webhook-timestamp": "1772359500",
        "webhook-signature": "v1,0//RqAFgT3m3DmPcgznFDJulG2sKu1P0QuM8Ldbw3wk=",
    }


def test_every_secret_signs_what_is_sent(receiver: Receiver) -> None:
    """Two secrets while a receiver changes over; the time is that of the attempt, the id that of the notification."""
    make(receiver, secrets=[SECRET, OTHER]).deliver(told.notification(), None, repeat=False, now=told.NOW)
    (request,) = receiver.requests
    expected = webhook.signed((SecretStr(SECRET), SecretStr(OTHER)), "key-1", int(told.NOW), request.body)
    assert {name: request.headers[name] for name in expected} == expected
    assert len(expected["webhook-signature"].split()) == 2
    assert request.headers["Content-Type"] == "application/json"


def test_without_a_secret_it_is_not_signed(receiver: Receiver) -> None:
    """The id is there all the same."""
    make(receiver).deliver(told.notification(), None, repeat=False, now=told.NOW)
    assert "webhook-signature" not in receiver.requests[0].headers
    assert receiver.requests[0].headers["webhook-id"] == "key-1"


def test_a_receiver_that_is_gone_for_good_says_so(receiver: Receiver) -> None:
    """410 switches the sink off for ever, by the standard."""
    receiver.script = [Reply(410, b"", {"Retry-After": "5"})]
    with pytest.raises(DeliveryError, match="for good: take this sink out of the configuration") as caught:
        make(receiver).deliver(told.notification(), None, repeat=False, now=told.NOW)
    assert (caught.value.retry, caught.value.after) == (False, None)


@pytest.mark.parametrize(
    ("event", "name"), [("opened", "incident.opened"), ("updated", "incident.updated"), ("resolved", "incident.resolved")]
)
def test_the_body_says_what_it_is(event: Any, name: str) -> None:
    """A dotted type, a time, and the incident in its public form."""
    said = json.loads(webhook.render(told.notification(event)))
    assert (said["type"], said["timestamp"]) == (name, "2026-11-23T04:40:49.000000Z")
    assert (said["data"]["signature"], said["data"]["thread"]) == ("conntrack-table-full", "a86efe2d247662ac")


def test_lines_of_evidence_are_cut_first() -> None:
    """One line a rule stays where that is enough, and what went is counted."""
    root = told.recorded()[0]
    lines = [line | {"text": line["text"] + " x" * 200} for line in root["evidence"]["lines"]] * 3
    said = json.loads(webhook.render(told.notification(incident=root | {"evidence": root["evidence"] | {"lines": lines}})))
    kept = said["data"]["evidence"]["lines"]
    assert {line["rule"] for line in kept} == {line["rule"] for line in lines}
    assert said["data"]["cut"] == {"evidence.lines": len(lines) - len(kept)}
    assert len(said["data"]["tree"]) == len(told.recorded()[1])


def test_then_symptoms_are_cut() -> None:
    """The first ten stay."""
    tree = told.recorded()[1] * 40
    said = json.loads(webhook.render(told.notification(symptoms=tree)))
    assert (len(said["data"]["tree"]), said["data"]["cut"]["tree"]) == (10, len(tree) - 10)
    assert said["data"]["first_aid"]


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "no base64 at all", "whsec_" + "A" * 200])
def test_a_secret_that_is_none_is_refused_with_the_way_to_make_one(secret: str) -> None:
    """The message does not show it."""
    with pytest.raises(ValidationError, match="openssl rand -base64 32") as caught:
        webhook.Settings(url="https://example.com/in", secrets=[secret])
    assert secret not in str(caught.value)
