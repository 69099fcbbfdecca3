"""Which parser a row gets: by configuration and the usual names, else by what the row itself looks like.

Sniffing is per row, so that the outcome cannot depend on how many rows a batch happened to have.
"""

import functools
import re
from collections.abc import Sequence

import polars as pl

from pipeline import parsers
from pipeline.model.stream import Stream
from pipeline.parsers import Envelope, Format

TEXT = "text"
PLAIN = "plain"


@functools.cache
def format_of(
    container: str | None, image: str | None, app: str | None, process: str | None, pod: str | None = None
) -> str | None:
    """The format that a program's usual names give, or None."""
    short = re.sub(r"[:@].*$", "", image.rsplit("/", 1)[-1]) if image else None
    for attribute, value in (
        ("apps", app),
        ("images", short),
        ("containers", container),
        ("processes", process),
        ("pods", pod),
    ):
        if not value:
            continue
        for fmt in _by_priority():
            if any(re.fullmatch(pattern, value) for pattern in getattr(fmt, attribute)):
                return fmt.name
    return None


def format_of_stream(stream: Stream) -> str | None:
    """The format of a stream as far as its names tell."""
    return stream.format or format_of(stream.container, stream.image, stream.app, stream.process, stream.pod)


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
