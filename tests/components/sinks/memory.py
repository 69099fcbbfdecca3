"""The memory sink in the battery."""

from pipeline.contracts import message
from tests.components.sinkway import Scene, Way


def seen(scene: Scene) -> list[tuple[str, str]]:
    return [(key, message.text(message.of(told))) for key, told in scene.sink.told.items()]


def over(scene: Scene) -> bool:
    return list(scene.sink.told.values())[-1].event == "resolved"


def limits(rendered: str) -> None:
    assert rendered


WAYS = [Way("memory", lambda _: {}, seen, over, limits, remote=False)]
