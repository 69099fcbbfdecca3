"""Which parser a row gets: by configuration and the usual names, else by what the row itself looks like.

Sniffing is per row, so that the outcome cannot depend on how many rows a batch happened to have.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline import parsers
from pipeline.errors import ConfigError, nearest
from pipeline.model.stream import Stream
from pipeline.parsers import Envelope, Format

NAMES = ("container", "image", "app", "process", "pod")
"""The attributes of a stream by which a format is known without looking at the text."""
TEXT = "text"
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Assignment:
    """Writers that match all `patterns` (attribute of `NAMES` to a regex of the whole name) write `format`."""

    format: str
    patterns: tuple[tuple[str, str], ...]


class Names:
    """Which format a writer's names give: a site's own assignments, else the usual names of programs.

    Raises ConfigError for an assignment to a format that does not exist.
    """

    def __init__(self, assignments: Sequence[Assignment] = ()) -> None:
        for assignment in assignments:
            if assignment.format not in parsers.all_formats():
                hint = nearest(assignment.format, parsers.all_formats()) or f"one of {', '.join(parsers.all_formats())}"
                raise ConfigError(f"assigning a format by names: there is no format '{assignment.format}'; {hint}")
        self._assignments = tuple(assignments)
        self._known: dict[tuple[str | None, ...], str | None] = {}

    def format_of(self, *names: str | None) -> str | None:
        """The format of a writer by its names, in the order of `NAMES`, or None."""
        if names not in self._known:
            self._known[names] = self._assigned(dict(zip(NAMES, names, strict=True))) or _usual(names)
        return self._known[names]

    def format_of_stream(self, stream: Stream) -> str | None:
        """The format of a stream as far as its names tell."""
        return stream.format or self.format_of(*(getattr(stream, name) for name in NAMES))

    def _assigned(self, names: Mapping[str, str | None]) -> str | None:
        fitting = (a for a in self._assignments if all(re.fullmatch(regex, names[name] or "") for name, regex in a.patterns))
        return next((assignment.format for assignment in fitting), None)


def _usual(names: Sequence[str | None]) -> str | None:
    """The format that a program's usual names give: the label `app` says more than an image, that more than a container."""
    container, image, app, process, pod = names
    short = re.sub(r"[:@].*$", "", image.rsplit("/", 1)[-1]) if image else None
    told = (("apps", app), ("images", short), ("containers", container), ("processes", process), ("pods", pod))
    for attribute, value in told:
        for fmt in _by_priority() if value else ():
            if any(re.fullmatch(pattern, value or "") for pattern in getattr(fmt, attribute)):
                return fmt.name
    return None


@functools.cache
def _by_priority() -> Sequence[Format]:
    return sorted(parsers.all_formats().values(), key=lambda fmt: (-fmt.priority, fmt.name))


@functools.cache
def _envelopes() -> Sequence[Envelope]:
    known = [envelope for envelope in parsers.all_envelopes().values() if envelope.sniff]
    return sorted(known, key=lambda envelope: (-envelope.priority, envelope.name))


def _first_match(text: pl.Expr, patterns: Sequence[tuple[str, str]], default: str | None) -> pl.Expr:
    chain = pl.lit(default, pl.String)
    for name, pattern in reversed(patterns):
        chain = pl.when(text.str.contains(pattern)).then(pl.lit(name)).otherwise(chain)
    return chain


def envelope_expr(record: pl.Expr) -> pl.Expr:
    """The envelope of each record."""
    return _first_match(record, [(e.name, e.sniff) for e in _envelopes() if e.sniff], PLAIN)


def format_expr(message: pl.Expr) -> pl.Expr:
    """The format of each message; null where none looks like it."""
    return _first_match(message, [(f.name, f.sniff) for f in _by_priority() if f.sniff], None)


@functools.cache
def faces() -> dict[str, str]:
    """Formats that have an all-rows face, with their sniff patterns."""
    return {fmt.name: fmt.sniff for fmt in _by_priority() if fmt.cheap and fmt.sniff}
