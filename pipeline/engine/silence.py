"""What is not there: where the counts of a group have gaps, and the one made-up row that stands for a silence."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.engine import grouping, windows
from pipeline.engine.windows import Hit
from pipeline.model import columns
from pipeline.signatures.models import Absence

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edges:
    """Where each group was silent: `gaps` are the last second before and the first behind it (None: not seen again), `seen` the
    seconds in which it was seen again, and the first of all.
    """

    gaps: Mapping[Group, list[tuple[int, int | None]]]
    seen: Mapping[Group, list[int]]


def edges(counts: pl.DataFrame, span: int) -> Edges:
    """Of `g*`, t, n the silences of at least `span` (microseconds): hours of seconds are few edges."""
    keys = [name for name in counts.columns if name.startswith("g") and name[1:].isdigit()]
    seconds = counts.select(*keys, "t").unique().sort("t")
    before, after = pl.col("t").shift(1), pl.col("t").shift(-1)
    marked = seconds.with_columns(
        (before.over(keys) if keys else before).alias("before"), (after.over(keys) if keys else after).alias("after")
    )
    opens = (pl.col("after") - pl.col("t") >= span).fill_null(value=True)
    closes = (pl.col("t") - pl.col("before") >= span).fill_null(value=True)
    gaps: dict[Group, list[tuple[int, int | None]]] = defaultdict(list)
    seen: dict[Group, list[int]] = defaultdict(list)
    told = marked.select(*keys, "t", "after", opens.alias("opens"), closes.alias("closes"))
    for *group, at, following, is_gap, is_back in told.filter(pl.col("opens") | pl.col("closes")).iter_rows():
        if is_gap:
            gaps[tuple(group)].append((at, following))
        if is_back:
            seen[tuple(group)].append(at)
    return Edges(gaps, seen)


def evidence(name: str, correlation: Absence, keys: Sequence[str], hits: Mapping[Group, Sequence[Hit]]) -> pl.DataFrame:
    """The evidence of silence by the rule of a name: one row where each begins, about the entities of the group."""
    entities = [key.removeprefix("client.").removeprefix("upstream.") for key in keys]
    rows = [
        {
            **{f"g{at}": value for at, value in enumerate(group)},
            **{entity: value for entity, value in zip(entities, group, strict=True) if entity in columns.ENTITY},
            "t": hit.start, "w": 1, "id": f"{name}/{'/'.join(group)}@{hit.start}",
            "detection": correlation.of, "source": "absence",
            "message": f"nothing more of {correlation.of} for {correlation.timespan // windows.MICRO} s",
        }
        for group, found in hits.items()
        for hit in found
    ]  # fmt: skip
    schema = {**grouping.empty(len(keys)).schema, **dict.fromkeys(columns.ENTITY, pl.String())}
    return pl.DataFrame(rows, schema=schema).sort("t", "id")
