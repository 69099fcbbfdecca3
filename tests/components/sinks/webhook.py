"""The generic webhook in the battery."""

import json

from tests.components.sinkway import Scene, Way

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # noqa: S105 (of a test)


def seen(scene: Scene) -> list[tuple[str, str]]:
    return [(request.headers["webhook-id"], request.body.decode()) for request in scene.receiver.taken]


def over(scene: Scene) -> bool:
    return scene.receiver.taken[-1].json["type"] == "incident.resolved"


def limits(rendered: str) -> None:
    assert len(rendered.encode()) < 20_000
    assert set(json.loads(rendered)) == {"type", "timestamp", "data"}


WAYS = [
    Way(
        "webhook",
        lambda url: {"url": f"{url}/in/pathsecret?token=querysecret", "secrets": [SECRET]},
        seen,
        over,
        limits,
        secrets=(SECRET.removeprefix("whsec_"), "pathsecret", "querysecret"),
    )
]
