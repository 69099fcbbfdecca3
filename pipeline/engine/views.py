"""What the rules read: the matched rows of a detection, joined with topology, weighted and in order of time.

Everything here is derived from `State` and cached until that changes.
"""

from collections.abc import Sequence

import polars as pl

from pipeline.engine import changes, enrich
from pipeline.engine.clocks import AHEAD, MINUTE
from pipeline.engine.state import State
from pipeline.model import columns
from pipeline.signatures import detection
from pipeline.signatures.logsource import COUNTERS, OBJECTS
from pipeline.signatures.ruleset import Detection, RuleSet


class Views:
    """Reads one state for one rule set."""

    def __init__(self, ruleset: RuleSet, state: State, cluster: str) -> None:
        self._ruleset = ruleset
        self._state = state
        self._cluster = cluster
        self._joined: pl.DataFrame | None = None
        self._derived: dict[str, tuple[pl.DataFrame, pl.DataFrame]] = {}
        self._cache: dict[str, pl.DataFrame] = {}
        self.versions: dict[str, int] = dict.fromkeys(ruleset.detections, 0)
        self._derived_from = {
            source: [d.name for d in ruleset.detections.values() if d.selector.sources == frozenset({source})]
            for source in (COUNTERS, OBJECTS)
        }

    def touch(self, names: Sequence[str] | set[str]) -> None:
        """The named detections have other rows now."""
        for name in names:
            self.versions[name] += 1
            self._cache.pop(name, None)

    def new_samples(self) -> None:
        """Counter samples were added."""
        self._derived.pop(COUNTERS, None)
        self.touch(self._derived_from[COUNTERS])

    def new_topology(self, since: int) -> None:
        """Topology from `since` (microseconds) on is known otherwise."""
        self._derived.pop(OBJECTS, None)
        self.touch(self._derived_from[OBJECTS])
        if self._joined is None or self._state.rows is None:
            return
        old = pl.col("@timestamp").dt.epoch("us") < since - enrich.CONNECT_TIMEOUT
        kept = self._joined.filter(old)
        if len(kept) < len(self._joined):
            self._joined = None if kept.is_empty() else kept
            self.touch(list(self._state.matched))

    def reset(self) -> None:
        """Everything may be otherwise now."""
        self._joined = None
        self._derived.clear()
        self.touch(list(self.versions))

    def joined(self) -> pl.DataFrame | None:
        """All matched rows with topology, by number."""
        rows = self._state.rows
        if rows is None:
            return None
        known = 0 if self._joined is None else len(self._joined)
        if known == len(rows):
            return self._joined
        rest = rows if self._joined is None else rows.join(self._joined.select("_n"), on="_n", how="anti", maintain_order="left")
        added = enrich.enrich(rest, self._state.topology)
        self._joined = added if self._joined is None else pl.concat([self._joined, added.select(self._joined.columns)])
        return self._joined

    def rows(self, name: str) -> pl.DataFrame:
        """The rows of a detection: all columns, `t` (microseconds), `w` (weight), `id`; sorted by t and id."""
        if name not in self._cache:
            self._cache[name] = self._build(self._ruleset.detections[name])
        found = self._cache[name]
        newest = self._state.clocks.newest()
        if not newest or found.is_empty() or found["t"][-1] <= newest + AHEAD * MINUTE:
            return found
        return found.filter(pl.col("t") <= newest + AHEAD * MINUTE)

    def _build(self, found: Detection) -> pl.DataFrame:
        source = next((s for s, names in self._derived_from.items() if found.name in names), None)
        if source is not None:
            derived, matches = self._derived_rows(source)
            rows = derived.filter(matches[found.name]) if matches[found.name].any() else _EMPTY
        else:
            numbers = self._state.matched.get(found.name)
            joined = None if numbers is None else self.joined()
            if numbers is None or joined is None:
                return _EMPTY
            rows = joined.join(pl.DataFrame({"_n": numbers}), on="_n", how="semi")
            if found.keeps_topology:
                rows = rows.filter(detection.to_expr(found.tree, dict(rows.schema)))
        return _EMPTY if rows.is_empty() else _weighted(rows).sort("t", "id")

    def _derived_rows(self, source: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Changes of objects, or growth of counters; beside it a column for every detection of them: which rows it matches."""
        if source not in self._derived:
            if source == OBJECTS:
                rows = changes.changes(self._state.topology, self._cluster)
            else:
                samples = self._state.samples
                rows = changes.increases(pl.DataFrame(schema=changes.SAMPLES) if samples is None else samples)
            rows = enrich.enrich(rows, self._state.topology)
            schema = dict(rows.schema)
            trees = {name: self._ruleset.detections[name].tree for name in self._derived_from[source]}
            matches = {name: detection.to_expr(tree, schema) for name, tree in trees.items()}
            self._derived[source] = rows, rows.with_columns(**matches).select(list(matches))
        return self._derived[source]


_EMPTY = pl.DataFrame(schema={**columns.COMMON, **columns.TOPOLOGY, "t": pl.Int64(), "w": pl.Int64(), "id": pl.String()})


def _weighted(rows: pl.DataFrame) -> pl.DataFrame:
    """`t`, `w`, `id`: one row each, but Kubernetes events count by the growth of their count."""
    plain = rows.with_columns(
        pl.col("@timestamp").dt.epoch("us").alias("t"), _weight(rows).alias("w"), pl.col("event.id").alias("id")
    )
    if "event.uid" not in rows.columns:
        return plain
    folded = plain.filter(pl.col("event.uid").is_not_null())
    if folded.is_empty():
        return plain
    return pl.concat([plain.filter(pl.col("event.uid").is_null()), *_unfolded(folded)])


def _weight(rows: pl.DataFrame) -> pl.Expr:
    return pl.col("event.weight") if "event.weight" in rows.columns else pl.lit(1, pl.Int64)


def _unfolded(folded: pl.DataFrame) -> list[pl.DataFrame]:
    """Sightings of folded events as growth: the first sighting counts one at its first time and the rest at its last."""
    ordered = folded.sort("event.count", "t", "id").unique(["event.uid", "event.count"], keep="first", maintain_order=True)
    grown = (pl.col("event.count") - pl.col("event.count").shift(1, fill_value=0)).over("event.uid")
    first = pl.col("event.count").shift(1).over("event.uid").is_null()
    marked = ordered.with_columns(grown.alias("w"), first.alias("_first"))
    early = pl.col("event.first").dt.epoch("us")
    split = pl.col("_first") & (pl.col("w") > 1) & (early < pl.col("t"))
    begun = marked.filter(split).with_columns(
        early.alias("t"), pl.lit(1, pl.Int64).alias("w"), (pl.col("id") + "#first").alias("id")
    )
    rest = marked.with_columns(pl.when(split).then(pl.col("w") - 1).otherwise("w").alias("w"))
    return [part.drop("_first") for part in (begun, rest)]
