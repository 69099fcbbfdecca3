"""Incidents: one open incident a signature and group, with its evidence, confidence and place among the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["firing", "resolved", "near_miss"]
Touch = tuple[str | None, ...]
"""One entity that a row touched: values in the order of `columns.ENTITY`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Evidence rows of one second that touched the same entities. `rule` is the detection, `weight` the number of rows,
    `observer` the node of whoever wrote them.
    """

    second: int
    rule: str
    touches: tuple[Touch, ...]
    weight: int
    observer: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of evidence as it was written. `at` in microseconds since 1970."""

    at: int
    source: str
    rule: str
    origin: str
    text: str


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a symptom's evidence a cause accounts for."""

    id: str
    coverage: float


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that moved the confidence: which rule, in words, by how much, and how many rows said so."""

    rule: str
    title: str
    confidence: float
    rows: int


@dataclass(slots=True)
class Incident:
    """A disaster (or symptom) as it stands. Times are microseconds since 1970; `ended` None while it goes on."""

    id: str
    signature: str
    title: str
    layer: str
    level: str
    status: Status
    cluster: str
    group: Mapping[str, str]
    started: int
    detected: int
    last: int
    ended: int | None
    rows: int
    counts: Mapping[str, int]
    titles: Mapping[str, str]
    entities: Mapping[str, Mapping[str, int]]
    cells: tuple[Cell, ...]
    rest: int
    lines: tuple[Line, ...]
    shown: Mapping[str, tuple[str, ...]]
    confidence: float
    reasons: tuple[Reason, ...] = ()
    vetoed: bool = False
    cause: str | None = None
    causes: tuple[Share, ...] = ()
    symptoms: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    version: int = 1
    digest: str = ""
    summary: str = ""
    first_aid: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    what: str = ""
    cause_text: str = ""
    impact: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """The life of an incident as it was made known: what a store keeps and a message thread follows.

    `thread` is the first id that was given out, `id` the present one (late evidence may move the start), `aliases` every id
    there was but the present. `revision` grows whenever what people would be told changes, `opened` and `updated` say when
    (microseconds of observed time). `merged_into` is the thread that it turned out to be a part of. `public` is the public form
    (`public.as_dict`) of `incident`.
    """

    thread: str
    id: str
    aliases: tuple[str, ...]
    revision: int
    opened: int
    updated: int
    merged_into: str | None
    incident: Incident
    public: Mapping[str, Any]
