"""PagerDuty: events, severities, tests that leave nothing open."""

import json

import pytest

from connectors.sinks import pagerduty
from pipeline.contracts import Context
from pipeline.errors import DeliveryError
from tests.components import told
from tests.components.receiver import Receiver, Reply
from tests.components.sinks.pagerduty import KEY


def make(receiver: Receiver) -> pagerduty.PagerDuty:
    return pagerduty.create(pagerduty.Settings(routing_key=KEY, base_url=receiver.url), Context("lab", told.CAPTURE, "oncall"))


def test_the_event_says_what_where_and_what_to_do() -> None:
    """The fields that PagerDuty shows and groups by; the routing key is not in what is shown."""
    event = json.loads(pagerduty.render(told.notification(link="https://headwater.example/i/1")))
    payload = event["payload"]
    assert payload["summary"] == "CRITICAL: Connection tracking table full on node-b: new connections are dropped"
    assert (payload["source"], payload["severity"], payload["component"], payload["group"]) == (
        "node-b",
        "critical",
        "node",
        "lab",
    )
    assert payload["timestamp"] == "2026-11-23T04:40:48.216676Z"
    assert payload["custom_details"]["first aid"][0].startswith("sysctl net.netfilter")
    assert (event["dedup_key"], event["links"][0]["href"]) == ("a86efe2d247662ac", "https://headwater.example/i/1")
    assert "routing_key" not in event


@pytest.mark.parametrize(
    ("level", "severity"),
    [("critical", "critical"), ("high", "error"), ("medium", "warning"), ("low", "info"), ("informational", "info")],
)
def test_levels_are_severities(level: str, severity: str) -> None:
    """Five of ours, four of theirs."""
    incident = told.recorded()[0] | {"level": level}
    assert json.loads(pagerduty.render(told.notification(incident=incident)))["payload"]["severity"] == severity


def test_an_end_resolves_what_the_beginning_triggered(receiver: Receiver) -> None:
    """By one key."""
    sink = make(receiver)
    receipt = sink.deliver(told.notification(), None, repeat=False, now=told.NOW)
    sink.deliver(told.notification("resolved", 2), receipt, repeat=False, now=told.NOW)
    events = [request.json for request in receiver.requests]
    assert [event["event_action"] for event in events] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in events}) == 1


def test_a_test_leaves_nothing_open(receiver: Receiver) -> None:
    """It triggers, and resolves at once."""
    make(receiver).deliver(told.notification("test", thread="test-1"), None, repeat=False, now=told.NOW)
    assert [request.json["event_action"] for request in receiver.requests] == ["trigger", "resolve"]


def test_the_end_of_a_day_resolves_its_digest(receiver: Receiver) -> None:
    """One incident a day, of the lowest severity, that does not stay open."""
    sink = make(receiver)
    for number, event in enumerate(("digest", "digest", "resolved")):
        of_day = told.notification(event, number, thread="digest-2026-11-23-a", digest=("one",) * (number + 1))
        sink.deliver(of_day, {}, repeat=False, now=told.NOW)
    events = [request.json for request in receiver.requests]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
    assert {(event["dedup_key"], event["payload"]["severity"]) for event in events} == {("digest-2026-11-23-a", "info")}


def test_a_wrong_key_is_named_as_the_likely_cause(receiver: Receiver) -> None:
    """PagerDuty answers 400 to a key that is none."""
    receiver.script = [Reply(400, b'{"status":"invalid event","errors":["Invalid routing key"]}')]
    with pytest.raises(DeliveryError, match=r"Invalid routing key.*check the routing key"):
        make(receiver).deliver(told.notification(), None, repeat=False, now=told.NOW)
