"""Keeping memory bounded: what is older than any window can reach is condensed into the incidents it belongs to, and goes.

What was detected more than `KEEP` behind the watermark is settled. An incident that ended before that is final; one that goes on
keeps its start, its detection and its evidence table (`Frozen`) and is extended by newer rows. Rows stay a little longer, for as
long as a window behind that edge may reach back. Too many rows of one detection are folded to one a second and entity: their
number stays; times within the second, texts and client addresses become those of the first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from pipeline.engine.clocks import SECOND
from pipeline.engine.state import RETENTION, Limits, State
from pipeline.engine.topology import FORMER
from pipeline.model.incident import Cell, Incident, Line, Reason

KEEP = 2 * RETENTION
"""Microseconds: the longest window, and as much again for evidence that is late."""
STEP = RETENTION // 6
"""Microseconds of event time between two clean-ups."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The part of an open incident whose rows are gone."""

    started: int
    first_hit: int
    detected: int
    last: int
    silent: bool
    rows: int
    rest: int
    counts: Mapping[str, int]
    cells: tuple[Cell, ...]
    lines: tuple[Line, ...]
    shown: Mapping[str, tuple[str, ...]]
    reasons: tuple[Reason, ...]


def due(state: State) -> int | None:
    """The time before which rows may go now (microseconds), or None while it is too early to look again."""
    if state.clocks.trusting:
        return None  # files that do not belong together: the older one may come last
    before = (state.clocks.watermark() - KEEP) // SECOND * SECOND
    begun = (
        min((clock_minute for clock in state.clocks.streams.values() for clock_minute in clock.minutes), default=0) * 60_000_000
    )
    return before if before > begun and before >= state.forgotten + STEP else None


def freeze(incident: Incident, first_hit: int, before: int, *, silent: bool) -> Frozen:
    """What an open incident keeps of the rows before a time; `silent` ones go on until what is missing is seen again."""
    old = tuple(cell for cell in incident.cells if cell.second < before)
    counts: dict[str, int] = {}
    for cell in old:
        counts[cell.rule] = counts.get(cell.rule, 0) + cell.weight
    return Frozen(
        started=incident.started,
        first_hit=first_hit,
        detected=incident.detected,
        last=max((cell.second for cell in old), default=incident.started),
        silent=silent,
        rows=sum(counts.values()),
        rest=incident.rest,
        counts=counts,
        cells=old,
        lines=tuple(line for line in incident.lines if line.at < before),
        shown=incident.shown,
        reasons=incident.reasons,
    )


def thaw(incident: Incident, frozen: Frozen) -> Incident:
    """An incident together with what was kept of it."""
    names = {*frozen.counts, *incident.counts}
    counts = {name: frozen.counts.get(name, 0) + incident.counts.get(name, 0) for name in sorted(names)}
    shown = {
        key: tuple(dict.fromkeys((*frozen.shown.get(key, ()), *incident.shown.get(key, ()))))[:5]
        for key in {*frozen.shown, *incident.shown}
    }
    reasons = {reason.rule: reason for reason in (*frozen.reasons, *incident.reasons)}
    return replace(
        incident,
        rows=frozen.rows + incident.rows,
        counts=counts,
        cells=frozen.cells + incident.cells,
        rest=frozen.rest + incident.rest,
        lines=(frozen.lines + incident.lines)[:40],
        shown=shown,
        reasons=tuple(reasons.values()),
    )


def forget(state: State, edge: int, look_back: int) -> None:
    """Incidents up to `edge` (microseconds) are settled: drop what no window behind it can reach."""
    before = edge - look_back
    if state.rows is not None:
        kept = state.rows.filter(pl.col("@timestamp").dt.epoch("us") >= before)
        numbers = kept["_n"]
        state.rows = kept
        state.matched = {name: found.filter(found.is_in(numbers.implode())) for name, found in state.matched.items()}
        state.matched = {name: found for name, found in state.matched.items() if len(found)}
    state.aggregates = {name: counts.filter(pl.col("second") >= before).rechunk() for name, counts in state.aggregates.items()}
    if state.samples is not None:
        state.samples = state.samples.filter(pl.col("@timestamp").dt.epoch("us") >= before).rechunk()
    state.topology.forget(before - FORMER)
    state.clocks.forget(before)
    for known in (state.faces, state.envelopes, state.looked):  # of streams that are gone; one that comes back shows it again
        for stream in [name for name in known if name not in state.clocks.streams]:
            del known[stream]
    state.forgotten = edge


def fold(state: State, limits: Limits, keys: Iterable[str]) -> set[str]:
    """Fold the older rows of detections that have too many; gives the detections whose rows changed.

    `keys` are the columns that rules group by or measure: rows that differ in them stay apart.
    """
    crowded = [name for name, found in state.matched.items() if len(found) > limits.rows_per_detection]
    if not crowded or state.rows is None:
        return set()
    members = pl.concat(
        pl.DataFrame({"_n": found}).with_columns(pl.lit(name).alias("_d")) for name, found in state.matched.items()
    )
    sets = members.group_by("_n").agg(pl.col("_d").sort().str.join("\x1f"))
    old = pl.concat(
        [state.matched[name].sort().head(len(state.matched[name]) - limits.rows_per_detection // 2) for name in crowded]
    ).unique()
    rows = state.rows.join(sets, on="_n", how="left", maintain_order="left")
    movable = rows.filter(pl.col("_n").is_in(old.implode()) & pl.col("event.uid").is_null())
    apart = [name for name in dict.fromkeys((*_ENTITY, *keys)) if name in rows.columns]
    merged = (
        movable.with_columns(pl.col("@timestamp").dt.truncate("1s").alias("_second"))
        .sort("@timestamp", "event.id")
        .group_by("_second", "_d", *apart, maintain_order=True)
        .agg(pl.col("_n").first(), pl.col("event.weight").sum())
    )
    weights = dict(zip(merged["_n"].to_list(), merged["event.weight"].to_list(), strict=True))
    gone = movable.filter(~pl.col("_n").is_in(merged["_n"].implode()))["_n"]
    for name in crowded:
        state.counts["rows_folded", name] += int(state.matched[name].is_in(gone.implode()).sum())
    changed = [name for name, found in state.matched.items() if found.is_in(movable["_n"].implode()).any()]
    kept = state.rows.filter(~pl.col("_n").is_in(gone.implode()))
    number = pl.col("_n").replace_strict(list(weights), list(weights.values()), default=None, return_dtype=pl.Int64)
    state.rows = kept.with_columns(pl.coalesce(number, "event.weight").alias("event.weight"))
    state.matched = {name: found.filter(~found.is_in(gone.implode())) for name, found in state.matched.items()}
    return set(changed)


_ENTITY = (
    "source", "k8s.node.name", "k8s.namespace.name", "k8s.pod.name", "k8s.service.name", "upstream.name", "upstream.address",
    "object.kind", "object.name",
)  # fmt: skip
