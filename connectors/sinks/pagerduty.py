"""Triggers and resolves incidents by PagerDuty's Events API v2. The thread is the deduplication key, so repeats do no harm.

PagerDuty does not rewrite an incident that is open: this sink hears of its beginning, a rise of its level and its end. A digest
is one incident a day (severity info), which the first opens, later ones are added to, and the end of the day resolves. It is no
change event: those notify nobody, and not every account has them.
"""

import json
from typing import Any

from connectors import http
from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt
from pipeline.model import words
from pipeline.model.public import rfc3339

SUMMARY = 1024
KEY = 255
LINES, LINE = 20, 500
"""What a list of details shows; all lists together then stay below the 512,000 bytes that an event may have."""
SEVERITIES = {"critical": "critical", "high": "error", "medium": "warning"}
HINTS = {400: "check the routing key: the integration must be of the type Events API v2"}


class Settings(http.Settings):
    """`routing_key`: the integration key of a service (Events API v2). `base_url`: https://events.eu.pagerduty.com in Europe."""

    routing_key: http.Token
    base_url: http.Address = "https://events.pagerduty.com"


class PagerDuty:
    """Sends events for one service."""

    updates = False

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        secrets = (settings.routing_key,)
        self._client = http.Client(f"sink {name}: sending an event to PagerDuty", settings.timeout, secrets, HINTS)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Trigger or resolve; a test does both, so that nothing stays open."""
        event = _event(notification)
        self._send(event, now)
        if notification.event == "test":
            self._send(event | {"event_action": "resolve"}, now)
        return {"dedup_key": event["dedup_key"]}

    def close(self) -> None:
        """No connection outlives a delivery."""

    def _send(self, event: dict[str, Any], now: float) -> None:
        body = json.dumps(event | {"routing_key": self._settings.routing_key.get_secret_value()}).encode()
        url = self._settings.base_url.rstrip("/") + "/v2/enqueue"
        self._client.send("POST", url, now=now, body=body, headers={"Content-Type": "application/json"})


def create(settings: Settings, context: Context) -> PagerDuty:
    """A sink for one service."""
    return PagerDuty(settings, context.name)


def render(notification: Notification) -> str:
    """The event without the routing key."""
    return json.dumps(_event(notification), ensure_ascii=False, indent=2)


def _event(notification: Notification) -> dict[str, Any]:
    told, incident = message.of(notification), notification.incident
    payload = {
        "summary": words.flat(told.title, SUMMARY),
        "source": words.flat(message.where(notification), KEY),
        "severity": SEVERITIES.get(told.level, "info"),
        "timestamp": incident.get("started") or rfc3339(notification.at),
        "component": incident.get("layer", "headwater"),
        "group": words.flat(incident.get("cluster") or "headwater", KEY),
        "class": incident.get("signature", notification.event),
        "custom_details": _details(told),
    }
    return {
        "event_action": "resolve" if told.over else "trigger",
        "dedup_key": notification.thread[:KEY],
        "client": "Headwater",
        "payload": payload,
        "links": [{"href": told.link, "text": "Incident"}] if told.link else [],
    }


def _details(told: message.Message) -> dict[str, Any]:
    """What the person on call reads first."""
    lists = {
        "first aid": told.first_aid,
        "symptoms": told.symptoms,
        "evidence": tuple(line for found in told.evidence for line in (found.claim, *found.lines)),
        "against": told.against,
        "blind": told.blind,
        "fix": told.fix,
        "formerly" if told.folded else "notifications": told.body,
    }
    shown = {name: _first(lines) for name, lines in lists.items() if lines}
    return {"facts": told.facts, **shown, "impact": told.impact, "from": told.origin}


def _first(lines: tuple[str, ...]) -> list[str]:
    rest = len(lines) - LINES
    return [words.cut(line, LINE) for line in lines[:LINES]] + ([f"{words.CUT} {rest} more"] if rest > 0 else [])
