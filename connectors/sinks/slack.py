"""Tells a Slack channel: one message an incident, edited as it develops, with symptoms and evidence in its thread.

With a bot token (scopes chat:write and, to look for doubles, channels:history or groups:history; the bot must be in the channel)
the incident's message and one reply with the details are edited in place, and the end is one more reply. Slack has no key
against doubles: before a repeat our key is looked for in the metadata of the channel's messages. Where that is not permitted,
or when a process dies between Slack's answer and its note of it while Slack is slow to list the message, a double is possible.

With an incoming webhook (fixed channel, nothing can be edited) the beginning, a rise of the level and the end are messages of
their own, and a repeat may be a double.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from pydantic import Field, model_validator

from connectors import blockkit, http
from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt, Sink
from pipeline.errors import DeliveryError
from pipeline.model import words

EVENT = "headwater_incident"
LOOK_BACK = 600
"""Seconds before a notification was decided from which the channel is looked through for it: clocks differ."""
PAGES = 5
GONE = ("message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found")
"""Somebody deleted the message, or it may no longer be edited: then a new one is posted."""
BLIND = ("missing_scope", "thread_not_found")
TEMPORARY = ("rate_limited", "ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")
MENDABLE = {
    "invalid_auth": "the token is wrong: install the app again and put its bot token (xoxb-...) into the configuration",
    "not_authed": "there is no token: put the app's bot token (xoxb-...) into the configuration",
    "token_revoked": "the token was revoked: install the app again and put its new bot token into the configuration",
    "token_expired": "the token has expired: put a new bot token into the configuration",
    "account_inactive": "the bot was removed: install the app again and put its new bot token into the configuration",
    "missing_scope": "give the app the scope chat:write (channels:history besides, against doubles) and install it again",
    "channel_not_found": "there is no such channel for the bot: check its id, and invite the bot if it is private",
    "not_in_channel": "invite the bot to the channel: /invite @headwater",
    "is_archived": "the channel is archived: name another one",
}
"""Refusals that are about the app or the channel, not about one message: what somebody has to mend before any succeeds."""
WEBHOOK_HINTS = {
    403: "the webhook may not post there: make a new one",
    404: "the webhook was removed: make a new one and put its address into the configuration",
    410: "the channel is archived or gone: make a webhook for another one",
}
WAYS = "give either a token and a channel, or a webhook"


class Settings(http.Settings):
    """Either `token` (a bot's, xoxb-...) and `channel` (its id as at the foot of the channel's details, not its name, which may
    change), or `webhook`, the address of an incoming webhook.
    """

    token: http.Token | None = None
    channel: Annotated[str, Field(pattern=r"^[CDG][A-Z0-9]{2,}$")] | None = None
    webhook: http.SecretAddress | None = None
    base_url: http.Address = "https://slack.com/api"

    @model_validator(mode="after")
    def _one_way(self) -> "Settings":
        given = (self.token is not None, self.channel is not None, self.webhook is not None)
        if given not in {(True, True, False), (False, False, True)}:
            raise ValueError(WAYS)
        return self


def create(settings: Settings, context: Context) -> Sink:
    """A sink for one channel, in the way that the settings allow."""
    return Hook(settings, context.name) if settings.webhook else Bot(settings, context.name)


def render(notification: Notification) -> str:
    """The message and the reply in its thread."""
    told = message.of(notification)
    shown = {"message": _content(told, threaded=True), "thread": {"blocks": blockkit.details(told)}}
    return json.dumps(shown, ensure_ascii=False, indent=2)


class Hook:
    """Posts to an incoming webhook."""

    updates = False

    def __init__(self, settings: Settings, name: str) -> None:
        assert settings.webhook is not None, WAYS  # noqa: S101 (it narrows a type; the settings have checked it)
        self._url = settings.webhook
        self._client = http.Client(f"sink {name}: posting to Slack's webhook", settings.timeout, (self._url,), WEBHOOK_HINTS)

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Post it as a message of its own."""
        body = json.dumps(_content(message.of(notification), threaded=False)).encode()
        headers = {"Content-Type": "application/json"}
        self._client.send("POST", self._url.get_secret_value(), now=now, body=body, headers=headers)
        return {}

    def close(self) -> None:
        """No connection outlives a delivery."""


class RefusedError(DeliveryError):
    """Slack's API said no; `kind` is its word for why."""

    def __init__(self, text: str, kind: str, *, retry: bool, after: float | None) -> None:
        super().__init__(text, retry=retry, after=after)
        self.kind = kind


class Bot:
    """Posts and edits with a bot's token. A receipt has the `channel`, and under `incident` and `details` the messages' times, by
    which Slack knows them.
    """

    updates = True

    def __init__(self, settings: Settings, name: str) -> None:
        assert settings.token is not None, WAYS  # noqa: S101 (it narrows a type; the settings have checked it)
        self._token, self._base, self._channel = settings.token, settings.base_url.rstrip("/"), settings.channel
        self._client = http.Client(f"sink {name}: posting to Slack", settings.timeout, (self._token,))

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Post or edit the message, then its details; at the end of the incident one more reply."""
        told = message.of(notification)
        parts = dict(receipt or {"channel": self._channel})
        if repeat:
            parts = self._earlier(notification, parts, now) | parts
        was_told, before = parts.pop("resolved", None), parts.get("incident")
        to = {"channel": parts["channel"]}
        parts["incident"] = self._put(before, to | _content(told, threaded=True) | _marked(notification, "incident"), now)
        if parts["incident"] != before:  # replies of a message that somebody deleted would stand under nothing
            parts.pop("details", None)
        reply = to | {"thread_ts": parts["incident"]}
        if details := blockkit.details(told):
            content = {"text": "Symptoms and evidence", "blocks": details} | _marked(notification, "details")
            parts["details"] = self._put(parts.get("details"), reply | content, now)
        if told.over and not told.folded and not was_told:
            text = {"text": f"✅ {blockkit.fit([told.facts], blockkit.SECTION)}"}
            self._put(None, reply | text | _marked(notification, "resolved"), now)
        return parts

    def close(self) -> None:
        """No connection outlives a delivery."""

    def _put(self, ts: str | None, content: dict[str, Any], now: float) -> str:
        """Edit a message, or post it where there is none (any more); gives its time."""
        if ts:
            try:
                self._call("chat.update", content | {"ts": ts}, now)
            except RefusedError as error:
                if error.kind not in GONE:
                    raise
            else:
                return ts
        posted = self._call("chat.postMessage", content | {"unfurl_links": False, "unfurl_media": False}, now)
        return str(posted["ts"])

    def _earlier(self, notification: Notification, parts: Mapping[str, Any], now: float) -> dict[str, str]:
        """Which parts of the notification an attempt whose answer was lost has posted."""
        found: dict[str, str] = {}
        thread, channel = notification.thread, parts["channel"]
        parent = parts.get("incident")
        if not parent:
            oldest = min(notification.at / 1e6, now) - LOOK_BACK
            for ts, payload in self._posted("conversations.history", {"channel": channel, "oldest": f"{oldest:.6f}"}, now):
                if (payload.get("thread"), payload.get("part")) == (thread, "incident"):
                    found["incident"] = parent = ts
        for ts, payload in self._posted("conversations.replies", {"channel": channel, "ts": parent}, now) if parent else ():
            of_this = payload.get("part") == "details" or payload.get("key") == notification.key
            if payload.get("thread") == thread and payload.get("part") != "incident" and of_this:
                found[payload["part"]] = ts
        return found

    def _posted(self, method: str, query: Mapping[str, Any], now: float) -> list[tuple[str, dict[str, Any]]]:
        """Times and our metadata of the messages that a method lists; none where the app may not look."""
        found: list[tuple[str, dict[str, Any]]] = []
        cursor = ""
        for _ in range(PAGES):
            asked = {**query, "include_all_metadata": "true", "limit": 200, **({"cursor": cursor} if cursor else {})}
            try:
                page = self._call(f"{method}?{urlencode(asked)}", None, now)
            except RefusedError as error:
                if error.kind not in BLIND:
                    raise
                return found
            marked = [(post["ts"], post.get("metadata", {})) for post in page.get("messages", [])]
            found += [(ts, metadata.get("event_payload", {})) for ts, metadata in marked if metadata.get("event_type") == EVENT]
            cursor = page.get("response_metadata", {}).get("next_cursor", "")
            if not cursor:
                break
        return found

    def _call(self, method: str, content: Mapping[str, Any] | None, now: float) -> dict[str, Any]:
        """Call a method of the Web API. Raises RefusedError for what Slack refuses, DeliveryError for the rest."""
        url = f"{self._base}/{method}"
        headers = {"Authorization": f"Bearer {self._token.get_secret_value()}"}
        if content is None:
            answer = self._client.send("GET", url, now=now, headers=headers)
        else:
            headers["Content-Type"] = "application/json; charset=utf-8"
            answer = self._client.send("POST", url, now=now, body=json.dumps(content).encode(), headers=headers)
        try:
            said: dict[str, Any] = json.loads(answer)
            refused = None if said["ok"] else str(said["error"])
        except (ValueError, KeyError, TypeError) as error:
            reason = "the answer is not Slack's; is there a proxy in between?"
            raise self._client.failure(urlsplit(url), reason, retry=True) from error
        if refused:
            # Only the channel that is configured can be mended: a conversation from before may have been in another.
            ours = content is None or content["channel"] == self._channel
            raise self._refused(url, refused, said, mendable=ours and refused in MENDABLE)
        return said

    def _refused(self, url: str, kind: str, said: Mapping[str, Any], *, mendable: bool) -> RefusedError:
        method = urlsplit(url).path.rpartition("/")[2]
        hint = MENDABLE.get(kind) or f"see https://docs.slack.dev/reference/methods/{method}"
        after = http.MENDING if mendable else said.get("retry_after")
        error = self._client.failure(urlsplit(url), f"{method} was refused: {words.flat(kind, 100)}; {hint}", retry=False)
        wait = float(after) if isinstance(after, int | float) else None
        return RefusedError(str(error), kind, retry=mendable or kind in TEMPORARY, after=wait)


def _content(told: message.Message, *, threaded: bool) -> dict[str, Any]:
    return {"text": blockkit.fallback(told), "blocks": blockkit.parent(told, threaded=threaded)}


def _marked(notification: Notification, part: str) -> dict[str, Any]:
    """Metadata to find the message by. `parse` is said because Slack would look for names and links in an edited text."""
    payload = {"key": notification.key, "thread": notification.thread, "part": part}
    return {"metadata": {"event_type": EVENT, "event_payload": payload}, "parse": "none", "link_names": False}
