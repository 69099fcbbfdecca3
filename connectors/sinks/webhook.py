"""Posts notifications as JSON, signed as Standard Webhooks 1.0.0 says.

The body is `{"type", "timestamp", "data"}` (`pipeline.contracts.message.payload`) of less than 20 kB; what was left out for that
is counted in `data.cut`. `webhook-id` is the key of the notification: a receiver drops what it has seen.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr

from connectors import http
from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt
from pipeline.model import words

Data = dict[str, Any]

LIMIT = 20_000
PREFIX = "whsec_"
SHORT = 300
LONG = 4000
BRIEF = (
    "id",
    "thread",
    "part_of",
    "revision",
    "signature",
    "title",
    "level",
    "status",
    "layer",
    "cluster",
    "started",
    "ended",
    "confidence",
)
"""What is left of an incident that does not fit otherwise, with its summary and link; each text of SHORT letters at most."""
HINTS = {410: "the receiver wants no more, for good: take this sink out of the configuration"}


def _key(secret: SecretStr) -> bytes:
    return base64.b64decode(secret.get_secret_value().strip().removeprefix(PREFIX), validate=True)


def _signing(secret: SecretStr) -> SecretStr:
    try:
        length = len(_key(secret))
    except binascii.Error:
        length = 0
    if not 24 <= length <= 64:  # noqa: PLR2004 (bytes, by the standard)
        raise ValueError("a signing secret is whsec_ and 24 to 64 random bytes in base64: whsec_$(openssl rand -base64 32)")
    return secret


class Settings(http.Settings):
    """`url`: where to post. `secrets`: each signs; two while a receiver changes over to a new one; none: not signed."""

    url: http.SecretAddress
    secrets: tuple[Annotated[SecretStr, AfterValidator(_signing)], ...] = ()


class Webhook:
    """Posts each notification."""

    updates = True

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        secrets = (settings.url, *settings.secrets)
        self._client = http.Client(f"sink {name}: posting a webhook", settings.timeout, secrets, HINTS)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Post it; the key makes a repeat recognisable."""
        body = render(notification).encode()
        headers = {"Content-Type": "application/json", **signed(self._settings.secrets, notification.key, int(now), body)}
        self._client.send("POST", self._settings.url.get_secret_value(), now=now, body=body, headers=headers)
        return {}

    def close(self) -> None:
        """No connection outlives a delivery."""


def create(settings: Settings, context: Context) -> Webhook:
    """A sink for one address."""
    return Webhook(settings, context.name)


def signed(secrets: tuple[SecretStr, ...], identity: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; `at` is the second of the attempt, since 1970."""
    headers = {"webhook-id": identity, "webhook-timestamp": str(at)}
    content = f"{identity}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode() for secret in secrets]
    return headers | ({"webhook-signature": " ".join(f"v1,{signature}" for signature in signatures)} if signatures else {})


def render(notification: Notification) -> str:
    """The body, below 20 kB: lines of evidence go first, then symptoms, then all but the plainest facts."""
    payload = message.payload(notification)
    data = payload["data"]
    reductions: tuple[Callable[[Data], Data], ...] = (_fewer_lines, _no_lines, _fewer_symptoms, _facts)
    for reduction in reductions:
        if _size(payload) < LIMIT:
            break
        payload["data"] = reduction(data)
    return _json(payload)


def _json(payload: Data) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def _size(payload: Data) -> int:
    return len(_json(payload).encode())


def _lines(data: Data, kept: list[Any]) -> Data:
    evidence = data.get("evidence", {})
    gone = len(evidence.get("lines", ())) - len(kept)
    return data | {"evidence": {**evidence, "lines": kept}, "cut": {**data.get("cut", {}), "evidence.lines": gone}}


def _fewer_lines(data: Data) -> Data:
    """The first line of each rule: what says most per byte."""
    firsts: Data = {}
    for line in data.get("evidence", {}).get("lines", ()):
        firsts.setdefault(line["rule"], line | {"text": words.flat(line["text"], SHORT)})
    return _lines(data, list(firsts.values()))


def _no_lines(data: Data) -> Data:
    return _lines(data, [])


def _fewer_symptoms(data: Data) -> Data:
    kept = data.get("tree", [])[:10]
    gone = {"tree": len(data.get("tree", ())) - len(kept)} | {name: len(data.get(name, ())) for name in ("symptoms", "entities")}
    bare = _no_lines(data)
    return bare | {"tree": kept, "symptoms": [], "entities": {}, "cut": {**bare["cut"], **gone}}


def _facts(data: Data) -> Data:
    kept = {key: value for key, value in data.items() if key in (*BRIEF, "summary", "link")}
    short = {key: words.flat(value, SHORT) if isinstance(value, str) else value for key, value in kept.items()}
    texts = {key: words.cut(data[key], LONG) for key in ("text",) if key in data}
    return short | texts | {"cut": {"fields": len(data) - len(kept)}}
