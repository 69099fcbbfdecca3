"""Alertmanager: replicas, labels as identity, lifetimes, silences."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sinks import alertmanager
from pipeline.contracts import Context
from pipeline.contracts.store import Matcher
from pipeline.errors import DeliveryError
from pipeline.model.public import microseconds
from tests.components import told
from tests.components.receiver import Cut, Receiver, Reply, running


@pytest.fixture
def other() -> Iterator[Receiver]:
    """A second replica."""
    with running() as server:
        yield server


def make(*replicas: Receiver, **more: Any) -> alertmanager.Alertmanager:
    settings = alertmanager.Settings(urls=[replica.url for replica in replicas], **more)
    return alertmanager.create(settings, Context("lab", told.CAPTURE, "oncall"))


def deliver(sink: alertmanager.Alertmanager, *arguments: Any, receipt: Any = None, **more: Any) -> Any:
    return sink.deliver(told.notification(*arguments, **more), receipt, repeat=False, now=told.NOW)


def test_every_replica_gets_the_alert(receiver: Receiver, other: Receiver) -> None:
    """A path in front is kept, the login is sent."""
    settings = alertmanager.Settings(urls=[f"{receiver.url}/am/", other.url], authorization="Basic x")
    sink = alertmanager.create(settings, Context("lab", told.CAPTURE, "oncall"))
    assert sink.deliver(told.notification(), None, repeat=False, now=told.NOW)["missed"] == []
    assert [server.requests[0].path for server in (receiver, other)] == ["/am/api/v2/alerts", "/api/v2/alerts"]
    assert receiver.requests[0].body == other.requests[0].body
    assert receiver.requests[0].headers["Authorization"] == "Basic x"


def test_one_replica_is_enough_and_the_other_is_named(receiver: Receiver, other: Receiver) -> None:
    """It gets the alert with the next sending."""
    receiver.script = [Cut.DROP]
    (missed,) = deliver(make(receiver, other))["missed"]
    assert receiver.url in missed
    assert other.taken


def test_when_no_replica_takes_it_the_error_that_may_pass_counts(receiver: Receiver, other: Receiver) -> None:
    """One refuses for good, the other is busy: trying again makes sense."""
    receiver.script, other.script = [Reply(400)], [Reply(503, b"", {"Retry-After": "9"})]
    with pytest.raises(DeliveryError) as caught:
        deliver(make(receiver, other))
    assert (caught.value.retry, caught.value.after) == (True, 9.0)


def test_an_alert_lives_for_a_while_and_ends_when_told(receiver: Receiver) -> None:
    """Firing: until `lifetime` from now; resolved: when it ended, never in the future."""
    sink = make(receiver, lifetime=600)
    assert sink.resend == 200
    deliver(sink)
    deliver(sink, "resolved")
    firing, resolved = (request.json[0] for request in receiver.requests)
    assert microseconds(firing["startsAt"]) == microseconds(told.recorded()[0]["started"])
    assert microseconds(firing["endsAt"]) == round((told.NOW + 600) * 1e6)
    assert microseconds(resolved["endsAt"]) == round(told.NOW * 1e6)
    assert firing["labels"] == resolved["labels"]


def test_a_change_of_labels_ends_the_former_alert(receiver: Receiver) -> None:
    """The level rose: Alertmanager would show both."""
    sink = make(receiver)
    receipt = deliver(sink, labels={"severity": "medium", "k8s.node.name": "node-b"})
    deliver(sink, "updated", labels={"severity": "critical", "k8s.node.name": "node-b"}, receipt=receipt)
    former, present = receiver.requests[1].json
    assert (former["labels"]["severity"], present["labels"]["severity"]) == ("medium", "critical")
    assert microseconds(former["endsAt"]) == round(told.NOW * 1e6) < microseconds(present["endsAt"])


def test_labels_are_in_alertmanagers_letters() -> None:
    """A label without a value is none; what is about no incident has a name all the same."""
    given = {"alertname": "Mine", "k8s.node.name": "node-b", "0day": "x", "empty": ""}
    assert alertmanager.labels(told.notification(labels=given)) == {"alertname": "Mine", "k8s_node_name": "node-b", "_0day": "x"}
    plain = {"test": told.notification("test", labels={}), "digest": told.notification("digest", labels={}, digest=("x",))}
    assert [alertmanager.labels(one)["alertname"] for one in plain.values()] == ["HeadwaterTest", "HeadwaterDigest"]


def test_annotations_of_the_rule_go_before_ours() -> None:
    """Summary and description are there, the rule's own may replace them."""
    (alert,) = json.loads(
        alertmanager.render(told.notification(annotations={"summary": "Mine", "runbook_url": "https://x.example"}))
    )
    assert alert["annotations"]["summary"] == "Mine"
    assert alert["annotations"]["runbook_url"] == "https://x.example"
    assert alert["annotations"]["description"].startswith("CRITICAL: Connection tracking table full on node-b")


def silence(state: str, **matcher: Any) -> dict[str, Any]:
    return {
        "id": "8f2b",
        "status": {"state": state},
        "updatedAt": "2026-11-23T04:00:00.000Z",
        "comment": "maintenance",
        "createdBy": "kim",
        "startsAt": "2026-11-23T04:00:00.000Z",
        "endsAt": "2026-11-23T06:00:00.000Z",
        "matchers": [{"name": "node", "value": "node-.*", "isRegex": True, **matcher}],
    }


def test_silences_that_have_not_ended_are_read(receiver: Receiver) -> None:
    """With author, comment, times and origin."""
    receiver.silences = [silence("active"), silence("expired"), silence("pending")]
    first, _ = make(receiver).silences(told.NOW)
    assert first.matchers == (Matcher("node", "=~", "node-.*"),)
    assert (first.id, first.author, first.comment, first.origin) == ("8f2b", "kim", "maintenance", "oncall")
    assert first.ends - first.starts == 7_200_000_000


def test_matchers_keep_their_meaning(receiver: Receiver) -> None:
    """All four, and one of the time before `isEqual`."""
    kinds = [(False, True), (False, False), (True, True), (True, False)]
    receiver.silences = [silence("active", isRegex=regex, isEqual=equal) for regex, equal in kinds] + [silence("active")]
    assert [found.matchers[0].operator for found in make(receiver).silences(told.NOW)] == ["=", "!=", "=~", "!~", "=~"]


def test_silences_come_from_the_first_replica_that_answers(receiver: Receiver, other: Receiver) -> None:
    """They tell each other; when none answers, or not like Alertmanager, that is an error."""
    other.silences = [silence("active")]
    receiver.script = [Cut.DROP, Reply(200, b"<html>"), Reply(200, b'[{"id": "x"}]')]
    assert len(make(receiver, other).silences(told.NOW)) == 1
    for _ in range(2):
        with pytest.raises(DeliveryError, match="the answer is not Alertmanager's"):
            make(receiver).silences(told.NOW)
