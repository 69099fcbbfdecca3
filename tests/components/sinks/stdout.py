"""Standard output in the battery: JSON as machines read it, and text."""

import json

from tests.components.sinkway import Scene, Way


def lines(scene: Scene) -> list[tuple[str, str]]:
    return [(json.loads(line)["key"], line) for line in scene.printed.splitlines()]


def lines_over(scene: Scene) -> bool:
    return json.loads(scene.printed.splitlines()[-1])["type"] == "incident.resolved"


def paragraphs(scene: Scene) -> list[tuple[str, str]]:
    return [(text, text) for text in scene.printed.split("\n\n") if text]


def paragraphs_over(scene: Scene) -> bool:
    return paragraphs(scene)[-1][1].startswith("RESOLVED: ")


def limits(rendered: str) -> None:
    """Nothing in it steers the terminal."""
    assert all(line.isprintable() for line in rendered.split("\n"))


WAYS = [
    Way("stdout json", lambda _: {"form": "json"}, lines, lines_over, limits, remote=False),
    Way("stdout text", lambda _: {}, paragraphs, paragraphs_over, limits, remote=False),
]
