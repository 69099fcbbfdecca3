"""Everything the engine remembers between batches: one picklable value, saved and restored as a whole.

It is a set of observations, not of conclusions: matched rows, all-rows aggregates, counter samples, object versions. What they
mean is derived anew, which is why the order of arrival does not matter. Caps and what is lost at them: `LIMITS`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.engine.clocks import Clocks
from pipeline.engine.topology import Topology
from pipeline.model.incident import Incident

RETENTION = 3600 * 1_000_000
"""Microseconds for which evidence can be revised."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps, each with a counter of what it cost (`Engine.metrics`).

    `rows_per_detection`: matched rows kept with their exact times; beyond, the oldest seconds are folded to one row a second
    and entity (weights are kept, texts and times within the second are lost).
    `parts_bytes`: longest message put together from partial lines; the rest is cut.
    `samples`: counter samples kept; beyond, the oldest go.
    `final_incidents`: ended incidents kept; beyond, the oldest go (a store has them).
    `open_incidents`, `near_misses`: of one signature; beyond, those that began later are left out while the others last.
    """

    rows_per_detection: int = 20_000
    parts_bytes: int = 1 << 20
    samples: int = 500_000
    final_incidents: int = 10_000
    open_incidents: int = 1_000
    near_misses: int = 100


@dataclass(slots=True)
class Part:
    """The beginning of a message whose end has not come yet."""

    at: int | None
    identity: str
    text: str


@dataclass(slots=True)
class State:
    """The engine's memory."""

    rows: pl.DataFrame | None = None
    """Matched rows, each once, with all columns that any rule needs; `_n` numbers them in order of arrival."""
    matched: dict[str, pl.Series] = field(default_factory=dict)
    """Detection to the numbers of its rows."""
    aggregates: dict[str, pl.DataFrame] = field(default_factory=dict)
    """All-rows counts by plan: second, keys, n and sums."""
    samples: pl.DataFrame | None = None
    """Counter samples."""
    topology: Topology = field(default_factory=Topology)
    clocks: Clocks = field(default_factory=Clocks)
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    faces: dict[str, str] = field(default_factory=dict)
    """Stream without a usual name to the format whose all-rows face it has shown."""
    envelopes: dict[str, str] = field(default_factory=dict)
    """Stream of a container, of which no one said how its runtime writes, to the envelope that it has shown."""
    looked: Counter[str] = field(default_factory=Counter)
    """How many lines of such a stream were looked at for a format."""
    next_row: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Metric and label to number: what was read, not understood, too late, implausible, cut."""
    samples_of_trouble: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first example of each kind of trouble, for people."""
    opened: dict[tuple[str, tuple[str, ...]], Any] = field(default_factory=dict)
    """What is kept of open incidents whose first rows are gone (`retention.Frozen`), by signature and group."""
    final: dict[str, Incident] = field(default_factory=dict)
    """Incidents that can change no more, by id."""
    forgotten: int = 0
    """Rows older than this (microseconds) are gone."""
