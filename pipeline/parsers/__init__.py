"""Parsers: bytes to columns. `envelopes/` take off what a runtime or shipper wrapped around a line, `formats/` read the line.

One file each, found by walking the two folders: the module `formats/coredns.py` with its constant `FORMAT` *is* the
format `coredns`. Parsers are pure (no clock, no I/O), columnar (Polars expressions, no Python per line) and unaware of each
other; the engine composes an envelope with a format. What both kinds share stands in `text.py`.

A parser never raises on any text: what it does not understand it marks (null `message`, null `source`) and the engine
keeps the text, counts it and gives it to the text rules all the same.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any

import polars as pl

from pipeline.model.vocabulary import Facts, Vocabulary
from pipeline.parsers.cheap import Cheap as Cheap
from pipeline.parsers.cheap import Pieces


@dataclass(frozen=True, slots=True)
class Context:
    """What a parser may need beside the text: `boot_time` of the node (kernel records count from it; UTC), and `now`.

    `now` is the reference for times that are written without a year. Both None when unknown: such times are then null.
    """

    boot_time: datetime | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A wrapping around lines.

    `unwrap` takes a frame with the one column `record` (String, never null) and gives a frame with exactly the columns
    `pipeline.model.columns.UNWRAPPED`, one row a wrapped line, in order. `sniff` is a regex (Rust syntax): a stream has
    this envelope when most of its first records match; where several match, the larger `priority` wins.
    """

    name: str
    unwrap: Callable[[pl.DataFrame, Context], pl.DataFrame]
    sniff: str | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """A way of writing lines.

    `parse` takes a frame with at least `message` (String, never null), `log.iostream` and `@timestamp` (both may be
    null), and gives a frame of the same rows in the same order with exactly the columns `PARSED` and `columns`. A column
    of `columns` that is also a common one (`message`, `k8s.pod.name`) replaces the common one where it is not null.

    `sources` are the row kinds it may yield; `verbatim` those String columns whose value stands letter by letter in the
    text, so that a rule on them has a literal to scan for. `containers`, `images`, `apps`, `processes`, `pods` are the defaults
    by which a stream is given this format (regexes, whole name; images without registry and tag); else `sniff` over the first
    lines decides, larger `priority` first. `cheap` is the all-rows face, by column name, and `pieces` what its
    columns share (`cheap.py`). `everyday` are lines of which a healthy cluster writes thousands a second, in the shortest form:
    no rule may be looked for by a text that stands in them.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    sources: tuple[str, ...]
    parse: Callable[[pl.DataFrame, Context], pl.DataFrame]
    verbatim: frozenset[str] = frozenset()
    cheap: Mapping[str, Cheap] = field(default_factory=dict)
    pieces: Pieces = ()
    everyday: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    sniff: str | None = None
    priority: int = 0


def _walk(package: str, constant: str) -> dict[str, Any]:
    root = importlib.import_module(f"{__name__}.{package}")
    found: dict[str, Any] = {}
    for info in sorted(pkgutil.iter_modules(root.__path__), key=lambda i: i.name):
        module: ModuleType = importlib.import_module(f"{root.__name__}.{info.name}")
        parser = getattr(module, constant)
        found[parser.name] = parser
    return found


@functools.cache
def all_envelopes() -> dict[str, Envelope]:
    """All envelopes by name."""
    return _walk("envelopes", "ENVELOPE")


@functools.cache
def all_formats() -> dict[str, Format]:
    """All formats by name."""
    return _walk("formats", "FORMAT")


@functools.cache
def columns() -> dict[str, pl.DataType]:
    """The union of the columns that formats declare; two formats that declare one name must agree on its type."""
    union: dict[str, pl.DataType] = {}
    for fmt in all_formats().values():
        for name, dtype in fmt.columns.items():
            if union.setdefault(name, dtype) != dtype:
                raise TypeError(f"format {fmt.name} declares {name} as {dtype}, another format as {union[name]}")
    return union


@functools.cache
def vocabulary() -> Vocabulary:
    """What rules may name."""
    facts = [
        Facts(fmt.name, fmt.sources, frozenset(fmt.columns), fmt.verbatim, frozenset(fmt.cheap), fmt.everyday)
        for fmt in all_formats().values()
    ]
    return Vocabulary(columns(), facts)
