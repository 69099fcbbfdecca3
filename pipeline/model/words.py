"""How times, places and foreign text are written for people: one form in the terminal, in messages and in listings."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

CUT = "…"
"""Stands where something was cut off."""


def clock(at: int) -> str:
    """The UTC time of day; `at` in microseconds since 1970."""
    return f"{datetime.fromtimestamp(at / 1e6, UTC):%H:%M:%S}"


def day(at: int) -> str:
    """The UTC day; `at` in microseconds since 1970."""
    return f"{datetime.fromtimestamp(at / 1e6, UTC):%Y-%m-%d}"


def lasted(microseconds: int) -> str:
    """A length of time in its two largest units: `2m05s`."""
    seconds = max(0, microseconds // 1_000_000)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"


def place(group: Mapping[str, str], cluster: str) -> str:
    """The entity an incident is about, as people write it: `node-b`, `shop/cart`."""
    keys = dict(group)
    namespace = keys.pop("k8s.namespace.name", None)
    rest = "/".join(keys.values())
    return f"{namespace}/{rest}" if namespace and rest else namespace or rest or cluster or "the cluster"


def few(names: Sequence[str], limit: int = 4) -> str:
    """Names in a line, each once; beyond `limit` only how many more there are."""
    once = list(dict.fromkeys(names))
    return ", ".join(once[:limit]) + (f" and {len(once) - limit} more" if len(once) > limit else "")


def printable(text: str) -> str:
    """Text of unknown origin with a space for whatever could steer a terminal or turn the direction of reading."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def flat(text: str, limit: int) -> str:
    """Text of unknown origin as one printable line of at most `limit` letters."""
    return cut(" ".join(printable(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """At most `limit` letters, with a mark where there were more."""
    return text if len(text) <= limit else text[: limit - 1] + CUT
