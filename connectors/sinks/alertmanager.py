"""Posts alerts to Alertmanager (API v2) and reads the silences that were made there.

Every replica gets every alert; one that takes it is enough, for what another missed comes with the next sending (the receipt
names it under `missed`). An alert ends by itself after `lifetime`: it must be sent again before that, every `resend` seconds.
Labels are an alert's identity: when they change (a rise of the level), the alert of the former labels is ended.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from connectors import http
from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt
from pipeline.contracts.store import Matcher, Silence
from pipeline.errors import DeliveryError
from pipeline.model import words
from pipeline.model.public import microseconds, rfc3339

VALUE = 250
"""Letters of a label's value."""
TEXT = 4000
OPERATORS = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
"""By isRegex and isEqual."""

Alert = dict[str, Any]


class Settings(http.Settings):
    """`urls`: every replica by its own address, never a load balancer; a path is kept (`http://host/alertmanager`).
    `authorization`: the value of that header, as in `Bearer ...`. `lifetime`: seconds after which Alertmanager takes an alert for
    resolved unless it is sent again; the service sends every third of it.
    """

    urls: tuple[http.Address, ...] = Field(min_length=1)
    authorization: http.Token | None = None
    lifetime: float = Field(default=900.0, ge=60)


class Alertmanager:
    """Sends alerts to all replicas. `resend`: seconds after which a firing alert must be delivered again."""

    updates = True

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name
        self.resend = settings.lifetime / 3
        secrets = (settings.authorization,) if settings.authorization else ()
        self._client = http.Client(f"sink {name}: talking to Alertmanager", settings.timeout, secrets)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Post the alert to every replica. Raises DeliveryError when none took it."""
        alert = _alert(notification, now, self._settings.lifetime)
        former = (receipt or {}).get("labels", alert["labels"])
        ended = [] if former == alert["labels"] else [alert | {"labels": former, "endsAt": _time(now)}]
        body = json.dumps([*ended, alert]).encode()
        missed = []
        for url in self._settings.urls:
            try:
                self._client.send("POST", _api(url, "alerts"), now=now, body=body, headers=self._headers())
            except DeliveryError as error:
                missed.append(error)
        if len(missed) == len(self._settings.urls):
            raise _worst(missed)
        return {"labels": alert["labels"], "missed": [str(error) for error in missed]}

    def silences(self, now: float) -> list[Silence]:
        """Silences that have not ended, from the first replica that answers (they tell each other). Raises DeliveryError."""
        missed = []
        for url in self._settings.urls:
            try:
                answer = self._client.send("GET", _api(url, "silences"), now=now, headers=self._headers())
                return [_silence(found, self._name) for found in json.loads(answer) if found["status"]["state"] != "expired"]
            except DeliveryError as error:
                missed.append(error)
            except (ValueError, KeyError, TypeError) as error:
                reason = f"sink {self._name}: reading silences: the answer is not Alertmanager's; check the address"
                missed.append(DeliveryError(reason, retry=True))
                missed[-1].__cause__ = error
        raise _worst(missed)

    def close(self) -> None:
        """No connection outlives a delivery."""

    def _headers(self) -> dict[str, str]:
        login = self._settings.authorization
        return {"Content-Type": "application/json"} | ({"Authorization": login.get_secret_value()} if login else {})


def create(settings: Settings, context: Context) -> Alertmanager:
    """A sink for all replicas of one Alertmanager."""
    return Alertmanager(settings, context.name)


def render(notification: Notification) -> str:
    """The alert as it would be posted when the notification was decided."""
    return json.dumps([_alert(notification, notification.at / 1e6, 900.0)], ensure_ascii=False, indent=2)


def labels(notification: Notification) -> dict[str, str]:
    """The labels as Alertmanager takes them: names in its letters, `alertname` always."""
    named = {re.sub(r"[^a-zA-Z0-9_]", "_", name): words.flat(value, VALUE) for name, value in notification.labels.items()}
    alertname = f"Headwater{'Digest' if notification.digest else 'Test'}"
    valid = {name if not name[:1].isdigit() else f"_{name}": value for name, value in named.items() if name and value}
    return {"alertname": alertname, **valid}


def _alert(notification: Notification, now: float, lifetime: float) -> Alert:
    """A start in the future or behind the end is refused; the clock of a replayed recording may be anywhere."""
    told, incident = message.of(notification), notification.incident
    at = round(now * 1_000_000)
    started = min(microseconds(incident["started"]) if incident else notification.at, at)
    ended = min(microseconds(incident.get("ended") or _time(now)), at)
    texts = {"summary": words.flat(told.title, TEXT), "description": words.cut(message.text(told), TEXT)}
    return {
        "labels": labels(notification),
        "annotations": {**texts, **{name: words.flat(value, TEXT) for name, value in notification.annotations.items()}},
        "startsAt": rfc3339(started),
        "endsAt": rfc3339(max(started, ended)) if told.over else _time(now + lifetime),
        **({"generatorURL": told.link} if told.link else {}),
    }


def _time(seconds: float) -> str:
    return rfc3339(round(seconds * 1_000_000)) or ""


def _api(url: str, what: str) -> str:
    return f"{url.rstrip('/')}/api/v2/{what}"


def _worst(missed: Sequence[DeliveryError]) -> DeliveryError:
    """Of the replicas' errors the one after which trying again helps, if there is one."""
    return next((error for error in missed if error.retry), missed[0])


def _silence(found: Mapping[str, Any], origin: str) -> Silence:
    matchers = tuple(
        Matcher(matcher["name"], OPERATORS[matcher["isRegex"], matcher.get("isEqual", True)], matcher["value"])  # type: ignore[arg-type]
        for matcher in found["matchers"]
    )
    starts, ends = microseconds(found["startsAt"]), microseconds(found["endsAt"])
    return Silence(found["id"], matchers, starts, ends, found["createdBy"], found["comment"], origin)
