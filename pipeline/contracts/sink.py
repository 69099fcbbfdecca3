"""What a sink must do: tell people or a system of an incident, once a call.

* `deliver` sends one notification and returns a receipt: a value that JSON can hold and that the runtime keeps with the
  incident's thread and hands to the next `deliver` of it (the timestamp of Slack's message, PagerDuty's key). An empty receipt
  is fine.
* It raises DeliveryError when it failed, saying whether trying again may help (`retry`) and what the other side asked for
  (`after`, seconds, from Retry-After). A sink never retries, waits, queues or drops by itself: the outbox does, once for all
  sinks.
* Notifications of one thread come in order, one at a time. The same notification may come again after a crash or a lost answer,
  then with `repeat=True`: a sink that has an idempotency key sends `notification.key` as such; one whose system has none looks
  for the key first where it can.
* A sink that must hear of what goes on again and again has `resend`, seconds; one whose system has silences of its own has
  `silences(now)`, which gives them as `pipeline.contracts.store.Silence` and raises DeliveryError.
* Whatever came from a log line is data: it is escaped for the target's markup and cut, with a mark, to the target's limits.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Receipt = Mapping[str, Any]
Event = Literal["opened", "updated", "resolved", "folded", "digest", "test"]
OVER = ("resolved", "folded")
"""Events after which a thread is closed. `folded`: it turned out to be a part of another incident, which people are told of."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What is to be said of one root incident.

    `key` is the idempotency key: equal for repeats of the same notification and for nothing else. `thread` is the first id of
    the incident: all notifications of it share that. `incident` and `symptoms` are in the public form (`headwater replay
    --output json`), symptoms in the order of the tree, each with `depth` (1 for what hangs directly below the root). `labels`
    are those that routing and Alertmanager see. `link` leads to the incident, where a base address is configured. `digest` has
    texts instead of an incident, when there were too many: one a day that grows, and is `resolved` when the day is over.
    `part_of` is what a folded incident is a part of.
    """

    key: str
    thread: str
    event: Event
    at: int
    """When it was decided, microseconds since 1970."""
    labels: Mapping[str, str]
    incident: Mapping[str, Any]
    symptoms: tuple[Mapping[str, Any], ...] = ()
    revision: int = 1
    link: str | None = None
    digest: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    part_of: Mapping[str, Any] | None = None


def as_json(notification: Notification) -> str:
    """The notification as one line of ASCII, for keeping it."""
    return json.dumps(dataclasses.asdict(notification), separators=(",", ":"))


def from_json(text: str) -> Notification:
    """The notification that `as_json` made."""
    kept = json.loads(text)
    return Notification(**{**kept, "symptoms": tuple(kept["symptoms"]), "digest": tuple(kept["digest"])})


class Sink(Protocol):
    """Tells one system."""

    updates: bool
    """Whether it can follow an incident as it develops (edit a message, send a newer state); one that cannot hears only of its
    beginning, of a rise of its level and of its end.
    """

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Send it. `receipt` is what the thread's previous delivery gave, `now` seconds since 1970. Raises DeliveryError."""

    def close(self) -> None:
        """Let everything go."""
