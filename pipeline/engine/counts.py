"""The all-rows counts as rules read them: joined with topology, by the keys of a rule.

Counts are added to, so that what was joined stays until topology changes, the latest are merged, or old ones are forgotten.
"""

from collections.abc import Sequence

import polars as pl

from pipeline.engine import aggregate, enrich, grouping
from pipeline.engine.aggregate import Plan
from pipeline.engine.state import State
from pipeline.model import columns
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Rule, RuleSet


class Counts:
    """Reads the counts of one state for one rule set. `versions` is how often the counts of a plan have changed."""

    def __init__(self, ruleset: RuleSet, state: State, plans: Sequence[Plan]) -> None:
        self._ruleset = ruleset
        self._state = state
        self._plans = plans
        self._joined: dict[str, pl.DataFrame] = {}
        self._seen: dict[str, frozenset[str]] = {}
        self.versions: dict[str, int] = {plan.name: 0 for plan in plans}

    def added(self, plan: str) -> None:
        """A plan has more counts now."""
        self._seen.pop(plan, None)
        self.versions[plan] += 1

    def merged(self, plan: str, settled: int) -> None:
        """The counts of a plan behind the first `settled` rows are other rows now, of the same meaning."""
        if plan in self._joined:
            self._joined[plan] = self._joined[plan].head(settled)

    def reset(self) -> None:
        """Addresses may have other owners now, or old counts are gone."""
        self._joined.clear()
        for plan in self._plans:
            self.added(plan.name)

    def seen(self, name: str) -> bool:
        """Whether a detection counted anything."""
        return any(name in self._seen_by(plan) for plan in self._plans)

    def plans_of(self, rule: Rule, name: str) -> list[Plan]:
        """The plans by which the rows of `name` are counted for a rule, one for every kind of row."""
        found = self._ruleset.detections.get(name)
        if rule.correlation.type not in aggregate.COUNTED or found is None or not aggregate.counted(found):
            return []
        keys = set(aggregate.raw_keys(rule, found))
        fitting = [p for p in self._plans if keys <= set(p.keys) and any(d.name == name for d in p.detections)]
        return list({plan.source: plan for plan in reversed(fitting)}.values())

    def numbers(self, plan: Plan, name: str, number: str, keys: Sequence[str]) -> pl.DataFrame:
        """One plan's counts (or sums, by the column `number`) of a detection: `g*`, t, n."""
        some = self._tested(self._all(plan), name).filter(pl.col(number) > 0)
        return grouping.numbers(some.with_columns(pl.col(number).cast(pl.Float64).alias("n"), pl.col("second").alias("t")), keys)

    def rows(self, plan: Plan, name: str) -> pl.DataFrame:
        """All-rows counts as evidence rows: one a second and key."""
        counts = self._tested(self._all(plan), name)
        if counts.is_empty():
            return pl.DataFrame(
                schema={"t": pl.Int64, "w": pl.Int64, "id": pl.String, **dict.fromkeys(columns.ENTITY, pl.String())}
            )
        written = [column for column in counts.columns if not column.startswith(("n:", "s:"))]
        number = f"n:{name}"
        merged = counts.filter(pl.col(number) > 0).group_by(written).agg(pl.col(number).sum())
        origin = [
            (pl.col(column).list.join(",") if isinstance(merged.schema[column], pl.List) else pl.col(column).cast(pl.String))
            for column in (*plan.keys, *aggregate.FROM_STREAM)
        ]
        return merged.with_columns(
            pl.col("second").alias("t"),
            pl.col(number).alias("w"),
            pl.concat_str(pl.lit(f"{plan.name}@"), "second", *origin, separator=" ", ignore_nulls=True).alias("id"),
            pl.lit(plan.source).alias("source"),
            pl.lit(None, pl.String).alias("message"),
        )

    def _seen_by(self, plan: Plan) -> frozenset[str]:
        if plan.name not in self._seen:
            counts = self._state.aggregates.get(plan.name)
            names = [] if counts is None else [f"n:{d.name}" for d in plan.detections if f"n:{d.name}" in counts.columns]
            some = [] if counts is None or not names else counts.select((pl.col(name) > 0).any() for name in names).row(0)
            self._seen[plan.name] = frozenset(name[2:] for name, any_ in zip(names, some, strict=True) if any_)
        return self._seen[plan.name]

    def _tested(self, counts: pl.DataFrame, name: str) -> pl.DataFrame:
        """The counts that also pass what a detection asks of topology."""
        found = self._ruleset.detections[name]
        if not found.keeps_topology or counts.is_empty():
            return counts
        return counts.filter(detection.to_expr(aggregate.residual(found), dict(counts.schema)))

    def _all(self, plan: Plan) -> pl.DataFrame:
        """The counts of a plan with topology."""
        raw = self._state.aggregates.get(plan.name)
        if raw is None:
            return pl.DataFrame(schema={"second": pl.Int64, **{f"n:{d.name}": pl.Int64 for d in plan.detections}})
        known = self._joined.get(plan.name)
        if known is None or len(known) < len(raw):
            rest = raw if known is None else raw.slice(len(known))
            dated = rest.with_columns(
                pl.col("second").cast(columns.TIME).alias("@timestamp"),
                pl.lit(None, pl.String).alias("k8s.workload.name"),  # of the writer: topology tells
            )
            if "upstream.address" in plan.keys:
                dated = dated.with_columns(pl.concat_list("upstream.address"))
            added = enrich.enrich(dated, self._state.topology)
            self._joined[plan.name] = added if known is None else pl.concat([known, added.select(known.columns)])
        return self._joined[plan.name]
