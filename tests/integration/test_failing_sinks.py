"""Sinks that fail: what people end up with is what they would have had, and each trouble is said once."""

import itertools
import random
import threading

import pytest

from pipeline.runtime import backoff
from tests.components.receiver import SLACK, Cut, Reply
from tests.integration import living
from tests.integration.living import Lab, told, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WAYS = [Reply(500), Reply(500, taken=True), Reply(429, headers={"Retry-After": "1"}), Cut.DROP, Cut.TAKEN, Cut.HANG]
CHAT = {"type": "slack", "token": "xoxb-1-bottoken", "channel": "C0123456789", "timeout": 0.5}
LONGEST = 3
"""Failures in a row: the waits between them grow."""


class Misfortune:
    """A script for the receiver that never ends: about every third request meets something."""

    def __init__(self, seed: int) -> None:
        self.met = 0
        self._chance = random.Random(seed)  # noqa: S311 (it guards nothing)
        self._row = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return True

    def pop(self, _: int) -> Reply | Cut | None:
        with self._lock:
            fails = self._row < LONGEST and self._chance.random() < 0.35
            self._row = self._row + 1 if fails else 0
            self.met += fails
            return self._chance.choice(WAYS) if fails else None


def with_two_sinks(lab: Lab, **second: dict[str, object]) -> None:
    """Whatever the webhook is told is told to another sink first."""
    both = [*({"receiver": name, "continue": True} for name in second), {"receiver": "hook"}]
    lab.change(sinks=lab.config["sinks"] | second, route=lab.config["route"] | {"routes": both})


def test_webhook_and_slack_end_up_as_they_should(laboratory) -> None:
    """Errors, limits, cut and hanging connections for the whole run: the same last words, and one message in the channel."""
    expected = living.undisturbed("conntrack-table-full")
    lab = laboratory("conntrack-table-full")
    lab.config["sinks"]["hook"]["timeout"] = 0.5
    with_two_sinks(lab, chat=CHAT | {"base_url": f"{lab.receiver.url}/api"})
    seed = random.randrange(2**32)  # noqa: S311 (as above)
    lab.receiver.script = misfortune = Misfortune(seed)
    with lab.inside() as inside:
        lab.play(inside)
        later = itertools.count(1000, round(backoff.LONGEST))
        until(lambda: not inside.deliver(next(later)), f"the last delivery (seed {seed})")
    assert misfortune.met
    hooked = [request for request in lab.receiver.taken if not request.path.startswith(SLACK)]
    assert told(hooked) == expected.told, f"seed {seed}"
    (post,) = lab.receiver.slack.top()
    assert "RESOLVED: Connection tracking table full on node-b" in post["text"], f"seed {seed}"


def test_kills_and_failing_sinks_together(laboratory) -> None:
    """A process that is killed while its sink fails: the same last words."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab = laboratory()
    lab.change(sinks={"hook": lab.config["sinks"]["hook"] | {"timeout": 0.5}})
    seed = random.randrange(2**32)  # noqa: S311 (as above)
    lab.receiver.script = Misfortune(seed)
    for _ in range(3):
        lab.service.start()
        until(lab.service.ready)
        known = len(lab.receiver.requests)
        lab.outage.write(lab.share(3))
        until(lambda known=known: lab.outage.written < lab.share(2) or len(lab.receiver.requests) > known, "a delivery")
        lab.service.kill()
    lab.service.start()
    lab.settle(expected)
    assert told(lab.receiver.taken) == expected.told, f"seed {seed}"
    assert lab.outcome.kept == expected.kept, f"seed {seed}"


def test_a_name_that_resolves_to_nothing_is_said_once(laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    """One message; the others are told, and what was to be said waits."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab = laboratory()
    with_two_sinks(lab, nowhere={"type": "webhook", "url": "http://[::1%25nosuch]/hook"})
    with lab.inside() as inside:
        lab.play(inside)
        status = inside.service.outbox.status()["nowhere"]
    assert told(lab.receiver.requests) == expected.told
    assert status.pending
    assert status.repeated > 2
    assert capsys.readouterr().out.count("no such host") == 1


def test_a_token_revoked_in_mid_incident_is_said_once(laboratory, capsys: pytest.CaptureFixture[str]) -> None:
    """One message says what to do, what it concerns waits for it, and the others are told."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab = laboratory()
    with_two_sinks(lab, chat=CHAT | {"base_url": f"{lab.receiver.url}/api"})

    def revoke() -> None:
        if lab.receiver.slack.top():
            lab.receiver.slack.call = lambda _: {"ok": False, "error": "token_revoked"}

    with lab.inside() as inside:
        lab.play(inside, between=revoke)
        status = inside.service.outbox.status()["chat"]
    assert told([request for request in lab.receiver.requests if request.path == "/hook"]) == expected.told
    assert status.sent == 1
    assert status.pending
    assert not status.failed
    assert capsys.readouterr().out.count("the token was revoked: install the app again") == 1
