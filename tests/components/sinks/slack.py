"""Slack in the battery, with a bot's token and with an incoming webhook; its limits are those that its reference states."""

import json
import re
from typing import Any

from tests.components.receiver import HOOK
from tests.components.sinkway import Scene, Way

TOKEN = "xoxb-1-bottoken"  # noqa: S105 (of a test)
ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
LINK = re.compile(r"<https://headwater\.example/i/1\|Open>")
ALARM = re.compile(r"@(here|channel|everyone)\b")


def messages(scene: Scene) -> list[tuple[str, str]]:
    """What stands in the channel; what is in a thread belongs to the message above it."""
    slack = scene.receiver.slack
    return [(post["ts"], json.dumps([post, *slack.thread(post["ts"])])) for post in slack.top()]


def message_over(scene: Scene) -> bool:
    (post,) = scene.receiver.slack.top()
    return "RESOLVED: " in post["text"] and any(
        reply["text"].startswith("✅") for reply in scene.receiver.slack.thread(post["ts"])
    )


def posts(scene: Scene) -> list[tuple[str, str]]:
    return [(str(number), request.body.decode()) for number, request in enumerate(scene.receiver.taken)]


def post_over(scene: Scene) -> bool:
    return "RESOLVED: " in scene.receiver.taken[-1].json["text"]


def limits(rendered: str) -> None:
    """50 blocks, 150 letters in a header, 1 to 3000 in a section, 4000 in the text, and nothing that Slack would act on."""
    shown = json.loads(rendered)
    assert 1 <= len(shown["message"]["text"].encode("utf-16-le")) // 2 <= 4000
    assert harmless(shown["message"]["text"])
    for blocks in (shown["message"]["blocks"], shown["thread"]["blocks"]):
        assert len(blocks) <= 50
        for block in blocks:
            _block(block)


def _block(block: dict[str, Any]) -> None:
    texts = block["elements"] if block["type"] == "context" else [block["text"]]
    assert len(texts) <= 10
    for text in texts:
        size = len(text["text"].encode("utf-16-le")) // 2
        assert 1 <= size <= (150 if block["type"] == "header" else 3000)
        assert text.get("verbatim", text["type"] == "plain_text")
        assert text["type"] == "plain_text" or harmless(text["text"])
        assert text["text"].count("```") in (0, 2)


def harmless(text: str) -> bool:
    """No tag but our own link, no mention, no broken entity."""
    rest = LINK.sub("", text)
    return not re.search("[<>]", rest) and not ENTITY.search(rest) and not ALARM.search(rest)


WAYS = [
    Way(
        "slack bot",
        lambda url: {"token": TOKEN, "channel": "C0123ABC", "base_url": f"{url}/api"},
        messages,
        message_over,
        limits,
        secrets=(TOKEN,),
    ),
    Way("slack hook", lambda url: {"webhook": url + HOOK}, posts, post_over, limits, secrets=(HOOK, "hooksecret"), doubles=True),
]
