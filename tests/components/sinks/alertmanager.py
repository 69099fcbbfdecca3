"""Alertmanager in the battery: one replica behind a path and a login."""

import json
import re
from datetime import datetime

from tests.components.receiver import ALERTS
from tests.components.sinkway import Scene, Way
from tests.components.told import NOW


def seen(scene: Scene) -> list[tuple[str, str]]:
    """Labels are an alert's identity."""
    assert all(request.path == ALERTS for request in scene.receiver.taken)
    alerts = [alert for request in scene.receiver.taken for alert in request.json]
    return [(json.dumps(alert["labels"], sort_keys=True), json.dumps(alert)) for alert in alerts]


def over(scene: Scene) -> bool:
    return datetime.fromisoformat(scene.receiver.taken[-1].json[-1]["endsAt"]).timestamp() <= NOW


def limits(rendered: str) -> None:
    (alert,) = json.loads(rendered)
    assert alert["labels"]["alertname"]
    assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and value for name, value in alert["labels"].items())
    assert alert["startsAt"] <= alert["endsAt"]
    assert len(rendered.encode()) < 100_000


WAYS = [
    Way(
        "alertmanager",
        lambda url: {"urls": [url], "authorization": "Bearer am-secret"},
        seen,
        over,
        limits,
        secrets=("am-secret",),
    )
]
