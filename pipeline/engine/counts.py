"""The all-rows counts as rules read them: joined with topology, by the keys of a rule.

Counts are added to, so that what was joined stays until topology changes, the latest are merged, or old ones are forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.engine import aggregate, enrich, grouping
from pipeline.engine.aggregate import Plan
from pipeline.engine.state import State
from pipeline.model import columns
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Rule, RuleSet


@dataclass(frozen=True, slots=True)
class _What:
    """What is added up: a plan's counts of a detection, in a column, by keys."""

    plan: str
    name: str
    number: str
    keys: tuple[str, ...]


class Counts:
    """Reads the counts of one state for one rule set. `versions` is how often the counts of a plan have changed."""

    def __init__(self, ruleset: RuleSet, state: State, plans: Sequence[Plan]) -> None:
        self._ruleset = ruleset
        self._state = state
        self._plans = plans
        self._joined: dict[str, pl.DataFrame] = {}
        self._fixed: dict[str, int] = {}
        """Rows at the beginning of a plan's counts that will not be merged any more."""
        self._summed: dict[_What, tuple[int, pl.DataFrame]] = {}
        """What so many of those rows come to, by the keys of a rule."""
        self._seen: dict[str, frozenset[str]] = {}
        self.versions: dict[str, int] = {plan.name: 0 for plan in plans}

    def added(self, plan: str) -> None:
        """A plan has more counts now."""
        self._seen.pop(plan, None)
        self.versions[plan] += 1

    def merged(self, plan: str, settled: int, fixed: int) -> None:
        """The counts of a plan behind the first `settled` rows are other rows now, of the same meaning: `fixed` rows in all."""
        if plan in self._joined:
            self._joined[plan] = self._joined[plan].head(settled)
        self._fixed[plan] = fixed

    def reset(self) -> None:
        """Old counts are gone, or everything may be otherwise."""
        self._joined.clear()
        self._fixed.clear()
        self._summed.clear()
        for plan in self._plans:
            self.added(plan.name)

    def new_topology(self, since: int) -> None:
        """Addresses may have other owners from a time (microseconds) on: what was counted before it stays as it is."""
        for plan in self._plans:
            self.added(plan.name)
            if (joined := self._joined.get(plan.name)) is not None:
                later = (joined["second"] >= since - enrich.CONNECT_TIMEOUT).arg_true()
                self._joined[plan.name] = joined.head(later[0]) if len(later) else joined
        self._summed = {what: known for what, known in self._summed.items() if known[0] <= len(self._joined.get(what.plan, ()))}

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
        """One plan's counts (or sums, by the column `number`) of a detection: `g*`, t, n.

        What is older is added up once: over two hours there are far more clients than namespaces that they are of.
        """
        every, fixed = self._all(plan), self._fixed.get(plan.name, 0)
        what = _What(plan.name, name, number, tuple(keys))
        done, summed = self._summed.get(what, (0, None))
        if done < fixed and number.startswith("n:"):  # sums of fractions would be rounded otherwise
            more = self._numbers(every.slice(done, fixed - done), what)
            done, summed = fixed, _added_up(more if summed is None else pl.concat([summed, more]))
            self._summed[what] = done, summed
        rest = self._numbers(every.slice(done), what)
        return rest if summed is None else pl.concat([summed, rest])

    def _numbers(self, counts: pl.DataFrame, what: "_What") -> pl.DataFrame:
        some = self._tested(counts, what.name).filter(pl.col(what.number) > 0)
        timed = some.with_columns(pl.col(what.number).cast(pl.Float64).alias("n"), pl.col("second").alias("t"))
        return grouping.numbers(timed, what.keys)

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


def _added_up(numbers: pl.DataFrame) -> pl.DataFrame:
    """`g*`, t, n with one row a second and group."""
    return numbers.group_by(pl.exclude("n"), maintain_order=True).agg(pl.col("n").sum()).select(numbers.columns)
