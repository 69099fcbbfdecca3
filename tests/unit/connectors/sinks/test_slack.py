"""Slack: what stands in the channel and its threads, doubles, refusals, markup."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.sinks import slack
from pipeline.contracts import Context
from pipeline.contracts.sink import Receipt, Sink
from pipeline.errors import DeliveryError
from tests.components import told
from tests.components.receiver import HOOK, Cut, Receiver, Reply
from tests.components.sinks.slack import TOKEN, harmless


def bot(receiver: Receiver) -> Sink:
    settings = slack.Settings(token=TOKEN, channel="C0123ABC", base_url=f"{receiver.url}/api")
    return slack.create(settings, Context("lab", told.CAPTURE, "oncall"))


def deliver(sink: Sink, receipt: Receipt | None = None, *, repeat: bool = False, **what: Any) -> Receipt:
    return sink.deliver(told.notification(**what), receipt, repeat=repeat, now=told.NOW)


def calls(receiver: Receiver) -> list[str]:
    return [request.path.removeprefix("/api/") for request in receiver.requests]


def refusal(kind: str, **more: Any) -> Reply:
    return Reply(200, json.dumps({"ok": False, "error": kind, **more}).encode())


def test_one_message_is_edited_and_its_details_stand_in_the_thread(receiver: Receiver) -> None:
    """Three notifications: one message, one reply with the details, one reply at the end; the token goes in a header only."""
    sink = bot(receiver)
    receipt = deliver(sink)
    receipt = deliver(sink, receipt, event="updated", number=2)
    deliver(sink, receipt, event="resolved", number=3)
    (parent,) = receiver.slack.top()
    details, end = receiver.slack.thread(parent["ts"])
    assert parent["text"].startswith("✅ RESOLVED: Connection tracking table full on node-b")
    assert "*Symptoms*" in details["blocks"][0]["text"]["text"]
    assert end["text"].startswith("✅ node-b · from 2026-11-23 04:40:48 UTC to 04:42:49 UTC")
    assert calls(receiver) == ["chat.postMessage"] * 2 + ["chat.update"] * 4 + ["chat.postMessage"]
    assert all(request.headers["Authorization"] == f"Bearer {TOKEN}" for request in receiver.requests)
    assert not [request for request in receiver.requests if TOKEN.encode() in request.body]


def test_the_message_carries_our_key_and_asks_slack_to_change_nothing(receiver: Receiver) -> None:
    """Metadata to find it by; no previews, no links or names made of text."""
    deliver(bot(receiver))
    said = receiver.requests[0].json
    payload = {"key": "key-1", "thread": "a86efe2d247662ac", "part": "incident"}
    assert said["metadata"] == {"event_type": "headwater_incident", "event_payload": payload}
    assert (said["unfurl_links"], said["unfurl_media"], said["parse"], said["link_names"]) == (False, False, "none", False)
    assert said["channel"] == "C0123ABC"


@pytest.mark.parametrize("lost", [1, 2])
def test_a_repeat_goes_on_where_the_first_attempt_broke_off(receiver: Receiver, lost: int) -> None:
    """The answer to the message or to its details was lost: the repeat finds and edits what stands there."""
    receiver.script = [Reply(taken=True, status=500)] if lost == 1 else [None, Cut.TAKEN]
    with pytest.raises(DeliveryError):
        deliver(bot(receiver))
    receipt = deliver(bot(receiver), repeat=True)
    (parent,) = receiver.slack.top()
    assert (receipt["incident"], len(receiver.slack.thread(parent["ts"]))) == (parent["ts"], 1)


def test_a_repeated_end_is_said_once(receiver: Receiver) -> None:
    """The reply that says the end is found by the notification's key."""
    sink = bot(receiver)
    receipt = deliver(sink)
    for repeat in (False, True, True):
        deliver(sink, receipt, event="resolved", number=2, repeat=repeat)
    assert len(receiver.slack.thread(receiver.slack.top()[0]["ts"])) == 2


def test_an_incident_that_comes_back_and_ends_again_says_so_twice(receiver: Receiver) -> None:
    """Another end has another key."""
    sink = bot(receiver)
    receipt = deliver(sink)
    for number, event in ((2, "resolved"), (3, "updated"), (4, "resolved")):
        receipt = deliver(sink, receipt, event=event, number=number, repeat=True)
    assert len(receiver.slack.thread(receiver.slack.top()[0]["ts"])) == 3
    assert len(receiver.slack.top()) == 1


def test_the_look_for_a_double_turns_pages_and_knows_other_incidents(receiver: Receiver) -> None:
    """Ours is behind five others, two a page."""
    sink = bot(receiver)
    deliver(sink)
    for number in range(5):
        deliver(sink, thread=f"other-{number}", number=10 + number)
    receiver.slack.page = 2
    deliver(sink, repeat=True)
    assert len(receiver.slack.top()) == 6
    assert calls(receiver)[12:] == ["conversations.history"] * 3 + ["conversations.replies", "chat.update", "chat.update"]


def test_where_it_may_not_look_it_posts(receiver: Receiver) -> None:
    """Without the scope to read the channel a double is possible, a missing message is not."""
    receiver.script = [refusal("missing_scope", needed="channels:history")]
    deliver(bot(receiver), repeat=True)
    assert len(receiver.slack.top()) == 1


@pytest.mark.parametrize("kind", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_message_that_cannot_be_edited_is_posted_anew(receiver: Receiver, kind: str) -> None:
    """Somebody deleted it: the incident and its details get a new place."""
    receiver.script = [refusal(kind)]
    former = {"channel": "C0123ABC", "incident": "1795408840.000001", "details": "1795408840.000002"}
    receipt = deliver(bot(receiver), former, event="updated", number=2)
    (parent,) = receiver.slack.top()
    assert receipt == {"channel": "C0123ABC", "incident": parent["ts"], "details": receiver.slack.thread(parent["ts"])[0]["ts"]}


REFUSALS = {
    "rate_limited": (True, ""),
    "ratelimited": (True, ""),
    "internal_error": (True, ""),
    "service_unavailable": (True, ""),
    "invalid_auth": (True, "install the app again"),
    "token_revoked": (True, "was revoked"),
    "channel_not_found": (True, "check its id"),
    "not_in_channel": (True, "/invite"),
    "invalid_blocks": (False, "https://docs.slack.dev/reference/methods/chat.postMessage"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_in_a_good_answer_is_one(receiver: Receiver, kind: str) -> None:
    """HTTP 200 with ok:false: the error says whether and when to try again, and else what to do."""
    retry, hint = REFUSALS[kind]
    receiver.script = [refusal(kind, retry_after=3) if retry and not hint else refusal(kind)]
    with pytest.raises(DeliveryError) as caught:
        deliver(bot(receiver))
    assert (caught.value.retry, caught.value.after) == (retry, (300.0 if hint else 3.0) if retry else None)
    assert f"chat.postMessage was refused: {kind}; " in str(caught.value)
    assert hint in str(caught.value)


def test_a_token_that_is_revoked_in_mid_incident_says_what_to_do(receiver: Receiver) -> None:
    """Nothing is posted anew for it; with a new token the same message is edited on."""
    receipt = deliver(bot(receiver))
    receiver.script = [refusal("token_revoked")]
    with pytest.raises(DeliveryError, match=r"chat\.update was refused: token_revoked; the token was revoked: install") as caught:
        deliver(bot(receiver), receipt, event="updated", number=2)
    assert (caught.value.retry, caught.value.after) == (True, 300.0)
    assert deliver(bot(receiver), receipt, event="updated", number=2, repeat=True) == receipt
    assert len(receiver.slack.top()) == 1


def test_a_look_for_doubles_that_is_put_off_puts_off_the_delivery(receiver: Receiver) -> None:
    """Slack is busy: posting without having looked would make the double."""
    receiver.script = [refusal("ratelimited", retry_after=30)]
    with pytest.raises(DeliveryError) as caught:
        deliver(bot(receiver), repeat=True)
    assert (caught.value.retry, caught.value.after) == (True, 30.0)
    assert not receiver.slack.messages


@pytest.mark.parametrize("body", [b"<html>Log in to the network</html>", b"[]", b"{}", b'{"ok": false}', b""])
def test_an_answer_that_is_not_slacks_is_worth_another_try(receiver: Receiver, body: bytes) -> None:
    """A portal in between answers 200 too."""
    receiver.script = [Reply(200, body)]
    with pytest.raises(DeliveryError, match="is there a proxy in between") as caught:
        deliver(bot(receiver))
    assert caught.value.retry


def test_a_webhook_gets_short_messages_of_their_own(receiver: Receiver) -> None:
    """Nothing can be edited there: symptoms stand in the message, evidence does not."""
    hook = slack.create(slack.Settings(webhook=receiver.url + HOOK), Context("lab", told.CAPTURE, "oncall"))
    assert not hook.updates
    assert deliver(hook) == {}
    deliver(hook, event="resolved", number=2)
    opened, resolved = (json.dumps(request.json, ensure_ascii=False) for request in receiver.requests)
    assert "*Symptoms*" in opened
    assert "240 x" not in opened
    assert "✅ RESOLVED" in resolved


def test_a_webhook_that_was_removed_says_what_to_do(receiver: Receiver) -> None:
    """Slack answers with a word and a status."""
    hook = slack.create(slack.Settings(webhook=receiver.url + HOOK), Context("lab", told.CAPTURE, "oncall"))
    receiver.script = [Reply(404, b"no_service")]
    with pytest.raises(DeliveryError, match="no_service; the webhook was removed: make a new one") as caught:
        deliver(hook)
    assert (caught.value.retry, caught.value.after) == (True, 300.0)


def test_a_conversation_in_a_former_channel_holds_nobody_up(receiver: Receiver) -> None:
    """Another channel is configured since, and the former was archived: that is not mended, the others are told."""
    receiver.script = [refusal("is_archived")]
    former = {"channel": "COLD", "incident": "1795408840.000001"}
    with pytest.raises(DeliveryError, match="is_archived") as caught:
        deliver(bot(receiver), former, event="updated", number=2)
    assert not caught.value.retry


HOSTILE = "a < b && c > d <!channel> @here ```escape``` `tick`"


def test_markup_in_log_lines_is_inert() -> None:
    """Tags are escaped, a mention is broken up, a code block cannot be left; single backticks of a command stay."""
    root = told.recorded()[0]
    line = {"at": root["started"], "source": "kernel", "rule": "r", "origin": "o", "text": HOSTILE}
    evidence = root["evidence"] | {"counts": {"r": 1}, "titles": {"r": HOSTILE}, "lines": [line]}
    incident = root | {"evidence": evidence, "summary": HOSTILE, "group": {"node": HOSTILE}, "first_aid": [HOSTILE]}
    shown = json.loads(slack.render(told.notification(incident=incident)))
    header, facts, first_aid = shown["message"]["blocks"][:3]
    assert header["text"]["type"] == "plain_text"
    assert "‹!channel›" in header["text"]["text"]
    assert facts["text"]["text"].startswith("a &lt; b &amp;&amp; c &gt; d &lt;!channel&gt; @\u200bhere")
    assert first_aid["text"]["text"].startswith("```\na &lt; b")
    assert first_aid["text"]["text"].endswith("`tick`\n```")
    assert first_aid["text"]["text"].count("```") == 2
    assert all(harmless(block["text"]["text"]) for block in shown["thread"]["blocks"])


def test_what_is_cut_says_so() -> None:
    """A hundred commands do not fit: whole ones are shown, the rest is counted; a title is cut with a mark."""
    incident = told.recorded()[0] | {
        "first_aid": [f"kubectl get pods -n namespace-{number} -o wide" for number in range(100)],
        "summary": "x" * 200,
    }
    header, _, first_aid = json.loads(slack.render(told.notification(incident=incident)))["message"]["blocks"][:3]
    *commands, rest = first_aid["text"]["text"].splitlines()[1:-1]
    assert all(command.endswith("-o wide") for command in commands)
    assert rest == f"… {100 - len(commands)} more"
    assert (len(header["text"]["text"]), header["text"]["text"][-1]) == (149, "…")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"token": TOKEN},
        {"channel": "C0123ABC"},
        {"token": TOKEN, "channel": "C0123ABC", "webhook": "https://hooks.slack.com/services/T/B/s3cret"},
        {"token": TOKEN, "channel": "#alerts"},
        {"token": f"{TOKEN}\r\nX-Evil: 1", "channel": "C0123ABC"},
        {"token": "  ", "channel": "C0123ABC"},
        {"webhook": "hooks.slack.com/services/T/B/s3cret"},
        {"webhook": "https://user:s3cret@hooks.slack.com/services"},
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, str]) -> None:
    """Before anything is sent, and without showing what was given."""
    with pytest.raises(ValidationError) as caught:
        slack.Settings(**given)
    assert TOKEN not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_secret_from_a_file_may_end_with_a_newline(receiver: Receiver) -> None:
    """As every editor writes it."""
    settings = slack.Settings(token=f"{TOKEN}\n", channel="C0123ABC", base_url=f"{receiver.url}/api/")
    deliver(slack.create(settings, Context("lab", told.CAPTURE, "oncall")))
    assert receiver.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
