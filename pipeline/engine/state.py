"""Everything the engine remembers between batches: one picklable value, saved and restored as a whole.

It is a set of observations, not of conclusions: matched rows, all-rows aggregates, counter samples, object versions. What they
mean is derived anew, which is why the order of arrival does not matter. Caps and what is lost at them: `LIMITS`.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.engine.topology import Topology

SECOND = 1_000_000
LATENESS = 30 * SECOND
IDLE = 60 * SECOND
AHEAD = 300 * SECOND
RETENTION = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps, each with a counter of what it cost (`Engine.metrics`).

    `rows_per_detection`: matched rows kept with their exact times; beyond, the oldest seconds are folded to one row a second
    and entity (weights are kept, texts and times within the second are lost).
    `parts_bytes`: longest message put together from partial lines; the rest is cut.
    `samples`: counter samples kept; beyond, the oldest go.
    """

    rows_per_detection: int = 20_000
    parts_bytes: int = 1 << 20
    samples: int = 500_000


@dataclass(slots=True)
class Clock:
    """How far a stream has come: newest event time, and `observed` when it last gave anything (microseconds)."""

    newest: int
    heard: int
    node: str | None = None


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
    clocks: dict[str, Clock] = field(default_factory=dict)
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    faces: dict[str, str] = field(default_factory=dict)
    """Stream without a usual name to the format whose all-rows face it has shown."""
    looked: Counter[str] = field(default_factory=Counter)
    """How many lines of such a stream were looked at."""
    signs: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    """(source, node) to the minutes in which it gave a sign of life."""
    next_row: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Metric and label to number: what was read, not understood, too late, implausible, cut."""
    samples_of_trouble: dict[tuple[str, str], str] = field(default_factory=dict)
    """The first example of each kind of trouble, for people."""
    final: dict[str, Any] = field(default_factory=dict)
    """Incidents that can change no more, by id."""

    def watermark(self, now: int) -> int:
        """Event time up to which everything is expected to have arrived: the slowest source that is not idle, less lateness."""
        active = [clock.newest for clock in self.clocks.values() if clock.heard >= now - IDLE]
        return (min(active) if active else self.newest()) - LATENESS

    def newest(self) -> int:
        """The newest plausible event time."""
        return max((clock.newest for clock in self.clocks.values()), default=0)

    def advance_clock(self, stream: str, node: str | None, times: tuple[int, int] | None) -> None:
        """Take note of a batch's newest event time. More than `AHEAD` before all other nodes, it is implausible and does not count."""
        if times is None:
            return
        others = [clock.newest for other, clock in self.clocks.items() if clock.node != node and other != stream]
        limit = max(others) + AHEAD if others else None
        newest = times[1]
        clock = self.clocks.get(stream)
        if limit is not None and newest > limit:
            self.counts["implausible_time", stream] += 1
            newest = min(times[0], limit) if times[0] <= limit else (clock.newest if clock else 0)
        heard = max(self.newest(), newest)
        if clock is None:
            self.clocks[stream] = Clock(newest, heard, node)
        else:
            clock.newest, clock.heard = max(clock.newest, newest), heard
