"""PagerDuty in the battery."""

import json

from tests.components.sinkway import Scene, Way

KEY = "0123456789abcdef0123456789abcdef"


def seen(scene: Scene) -> list[tuple[str, str]]:
    """PagerDuty has one incident a deduplication key; what was told of it is in the events."""
    assert all(request.path == "/v2/enqueue" and request.json["routing_key"] == KEY for request in scene.receiver.taken)
    return [(request.json["dedup_key"], request.body.decode()) for request in scene.receiver.taken]


def over(scene: Scene) -> bool:
    return scene.receiver.taken[-1].json["event_action"] == "resolve"


def limits(rendered: str) -> None:
    event = json.loads(rendered)
    assert len(rendered.encode()) <= 512_000
    assert 1 <= len(event["payload"]["summary"]) <= 1024
    assert 1 <= len(event["dedup_key"]) <= 255
    assert event["payload"]["source"]
    assert event["payload"]["severity"] in ("critical", "error", "warning", "info")


WAYS = [Way("pagerduty", lambda url: {"routing_key": f"{KEY}\n", "base_url": url}, seen, over, limits, secrets=(KEY,))]
