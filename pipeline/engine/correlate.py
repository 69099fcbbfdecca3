"""Correlations over what was matched and counted: for every rule and group, when its condition held and by which rows.

Pure: an outcome is a function of the rows, the counts, the topology and the watermark. Outcomes are cached by what they
were made of, so that a batch costs only the rules it touches.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from pipeline import parsers
from pipeline.engine import aggregate, grouping, silence, windows
from pipeline.engine.counts import Counts
from pipeline.engine.state import State
from pipeline.engine.views import Views
from pipeline.engine.windows import Effects, Hit, Measure, Seconds, Series
from pipeline.signatures import conditions
from pipeline.signatures.models import Absence, Cascade, Correlation, Effect, EventCount, Temporal, Threshold, Value
from pipeline.signatures.ruleset import Rule, RuleSet

Group = tuple[str, ...]
SKEW = 30 * windows.MICRO
"""Clock error allowed between cause and effect where no signature says otherwise (microseconds)."""


@dataclass(slots=True)
class Outcome:
    """What a rule found: for every group (values in the order of `keys`) its hits, its near misses, and all rows it is made of.

    `rows` has the group in `g0`, `g1`, ... and the columns `EVIDENCE`, plus those that the signature wants to show.
    """

    keys: Sequence[str]
    hits: dict[Group, list[Hit]] = field(default_factory=dict)
    missed: dict[Group, list[Hit]] = field(default_factory=dict)
    seen: dict[Group, list[int]] = field(default_factory=dict)
    """For silences: when what is missing was seen (microseconds), by group."""
    rows: pl.DataFrame = field(default_factory=pl.DataFrame)


class Correlator:
    """Evaluates the rules of one rule set over one state."""

    def __init__(self, ruleset: RuleSet, state: State, views: Views, plans: Sequence[aggregate.Plan]) -> None:
        self._ruleset = ruleset
        self._state = state
        self._views = views
        self._plans = plans
        self._counts = Counts(ruleset, state, plans)
        self._shown: dict[str, list[str]] = {}
        self._beneath: dict[str, frozenset[str]] = {}
        self._waiting: dict[str, bool] = {}
        self._outcomes: dict[str, tuple[object, Outcome]] = {}
        self._skews = {found.rule: found.signature.skew for found in ruleset.signatures.values()}
        self._counted_by = aggregate.plans_by_rule(ruleset)

    def new_counts(self, plan: str) -> None:
        """A plan has more counts now."""
        self._counts.added(plan)

    def merged_counts(self, plan: str, settled: int, fixed: int) -> None:
        """The counts of a plan behind the first `settled` rows were merged; they are `fixed` rows now, which stay."""
        self._counts.merged(plan, settled, fixed)

    def new_topology(self, since: int) -> None:
        """Addresses may have other owners from a time (microseconds) on."""
        self._counts.new_topology(since)

    def reset_counts(self) -> None:
        """Old counts are gone."""
        self._counts.reset()

    def outcome(self, name: str, until: int) -> Outcome:
        """The outcome of a rule; what must wait for the watermark is decided up to `until` (microseconds)."""
        rule = self._ruleset.rules[name]
        made_of = (
            tuple(self._views.versions[found] for found in rule.detections),
            tuple(self._counts.versions[plan] for plan in self._counted_by[name]),
            until if self.waits(rule) else 0,
        )
        cached = self._outcomes.get(name)
        if cached is None or cached[0] != made_of:
            cached = (made_of, self._evaluate(rule, until))
            self._outcomes[name] = cached
        return cached[1]

    def waits(self, rule: Rule) -> bool:
        """Whether a rule, or one it stands on, needs the watermark to decide."""
        if rule.name not in self._waiting:
            self._waiting[rule.name] = self._must_wait(rule)
        return self._waiting[rule.name]

    def _must_wait(self, rule: Rule) -> bool:
        correlation = rule.correlation
        if correlation.type in aggregate.COUNTED or (isinstance(correlation, Cascade) and correlation.absent):
            return True
        if rule.condition is not None and conditions.has_negation(rule.condition):
            return True
        condition = getattr(correlation, "condition", None)
        if isinstance(condition, Threshold) and not (windows.monotone(condition) and correlation.type in _GROWING):
            return True
        return any(self.waits(self._ruleset.rules[name]) for name in rule.rules if name in self._ruleset.rules)

    def rows(self, rule: Rule, name: str, until: int, *, show: Sequence[str] = ()) -> pl.DataFrame:
        """The evidence rows of `name` (a detection or a rule) grouped as `rule` groups them."""
        if name in self._ruleset.rules:
            inner = self.outcome(name, until)
            frame = inner.rows
            if not inner.hits and not inner.missed:
                frame = self._all_rows(self._ruleset.rules[name], inner, until)
            sources = [
                f"g{inner.keys.index(column)}" if column in inner.keys else None for column in aggregate.key_columns(rule, name)
            ]
            if frame.is_empty() or None in sources:
                return grouping.empty(len(sources))
            taken = frame.with_columns(pl.col(str(source)).alias(f"h{at}") for at, source in enumerate(sources))
            plain = taken.drop(column for column in taken.columns if column.startswith("g") and column[1:].isdigit())
            return plain.rename({f"h{at}": f"g{at}" for at in range(len(sources))})
        keys = aggregate.key_columns(rule, name)
        if plans := self._counts.plans_of(rule, name):
            parts = [self._counts.rows(plan, name).with_columns(pl.lit(name).alias("detection")) for plan in plans]
            return pl.concat([grouping.grouped(part, keys, show) for part in parts], how="diagonal_relaxed")
        frame = self._views.rows(name)
        if rule.correlation.type in aggregate.COUNTED:
            # All-rows rules work on whole seconds, also where a detection happens to be counted by its matched rows.
            frame = frame.with_columns(pl.col("t") // windows.MICRO * windows.MICRO)
        return grouping.grouped(frame.with_columns(pl.lit(name).alias("detection")), aggregate.key_columns(rule, name), show)

    def _times(self, rule: Rule, name: str, until: int, fields: Sequence[str]) -> pl.DataFrame:
        """What windows slide over: `g*`, t, w, id, value. A rule that is referred to counts by its hits."""
        if name in self._ruleset.rules:
            return self._hits_as_rows(rule, name, until)
        frame = self._views.rows(name)
        keys = aggregate.key_columns(rule, name)
        if frame.is_empty():
            return grouping.no_times(len(keys))
        valued = frame.with_columns(grouping.value(frame, fields))
        return grouping.grouped(valued, keys, ("value",)).select(
            pl.selectors.matches(r"^g\d+$"), "t", "w", "id", "value", pl.col("t").alias("start")
        )

    def _hits_as_rows(self, rule: Rule, name: str, until: int) -> pl.DataFrame:
        inner = self.outcome(name, until)
        wanted = aggregate.key_columns(rule, name)
        if any(column not in inner.keys for column in wanted):
            return grouping.no_times(len(wanted))
        places = [inner.keys.index(column) for column in wanted]
        rows = [
            (*(group[place] for place in places), hit.at, 1, f"{name}/{'/'.join(group)}@{hit.at}", None, hit.start)
            for group, hits in inner.hits.items()
            for hit in hits
        ]
        keys = {f"g{at}": pl.String() for at in range(len(wanted))}
        return pl.DataFrame(
            rows,
            schema={**keys, "t": pl.Int64, "w": pl.Int64, "id": pl.String, "value": pl.Null, "start": pl.Int64},
            orient="row",
        )

    def _evaluate(self, rule: Rule, until: int) -> Outcome:
        correlation = rule.correlation
        outcome = Outcome(tuple(correlation.group_by))
        if not self._can_hold(rule):
            # Most rules most of the time: a query of Polars costs the same for no rows, and a rule takes dozens.
            outcome.rows = grouping.empty(len(outcome.keys))
            return outcome
        evaluate: Callable[[Rule, Outcome, int], None] = {
            "temporal_ordered": self._ordered,
            "cascade": self._cascade,
            "ratio": self._ratio,
            "absence": self._absence,
            "baseline": self._baseline,
        }.get(correlation.type, self._sliding)
        evaluate(rule, outcome, until)
        if not outcome.hits and not outcome.missed:
            outcome.rows = grouping.empty(len(outcome.keys))
            return outcome
        outcome.rows = self._all_rows(rule, outcome, until)
        return outcome

    def _can_hold(self, rule: Rule) -> bool:
        """Whether there is anything to make a hit or a near miss of."""
        correlation = rule.correlation
        of: str = getattr(correlation, "of", "")
        if of in self._ruleset.detections and not (
            correlation.type == "ratio" and windows.meets(correlation.condition.bounds(), 0)
        ):
            return self._has_rows(of)
        return any(self._has_rows(name) for name in rule.detections)

    def _has_rows(self, name: str) -> bool:
        """Whether a detection matched anything, or counted anything."""
        return self._counts.seen(name) or not self._views.rows(name).is_empty()

    def _all_rows(self, rule: Rule, outcome: Outcome, until: int) -> pl.DataFrame:
        """The rows that a rule is made of, in every group, whether or not its condition held there."""
        if isinstance(rule.correlation, Absence):
            return silence.evidence(rule.name, rule.correlation, outcome.keys, outcome.hits)
        show = self._shown_by(rule)
        parts = [self.rows(rule, name, until, show=show) for name in self._evidence_of(rule)]
        some = [part for part in parts if not part.is_empty()]
        return pl.concat(some, how="diagonal_relaxed").sort("t", "id", "detection") if some else grouping.empty(len(outcome.keys))

    def _shown_by(self, rule: Rule) -> list[str]:
        """The columns that detections or signatures want to show of the rows of a rule."""
        if rule.name not in self._shown:
            own = {
                f for name in rule.detections if name in self._ruleset.detections for f in self._ruleset.detections[name].fields
            }
            signed = {
                f
                for found in self._ruleset.signatures.values()
                if rule.name == found.rule or rule.name in self._below(found.rule)
                for f in found.signature.fields
            }
            self._shown[rule.name] = sorted(own | signed)
        return self._shown[rule.name]

    def _below(self, name: str) -> frozenset[str]:
        """What a rule stands on, directly or through others."""
        if name not in self._beneath:
            rules = self._ruleset.rules[name].rules if name in self._ruleset.rules else ()
            self._beneath[name] = frozenset(rules).union(*(self._below(other) for other in rules))
        return self._beneath[name]

    def _evidence_of(self, rule: Rule) -> list[str]:
        """The rules whose rows are evidence: not what must be absent, nor what a share is taken of."""
        correlation = rule.correlation
        if correlation.type in ("ratio", "baseline"):
            return [correlation.of]
        if isinstance(correlation, Cascade):
            return list(dict.fromkeys([correlation.cause.rule, *(effect.rule for effect in correlation.effects)]))
        if rule.condition is not None:
            positive = _positive(rule.condition)
            return [name for name in rule.rules if name in positive]
        return list(rule.rules)

    def _series(self, rule: Rule, names: Sequence[str], until: int, fields: Sequence[str] = ()) -> dict[Group, Series]:
        there = [(at, name) for at, name in enumerate(names) if self._has_times(name, until)]
        if not there:
            return {}
        parts = [self._times(rule, name, until, fields).with_columns(pl.lit(at, pl.Int64).alias("rule")) for at, name in there]
        keys = [f"g{at}" for at in range(len(rule.correlation.group_by))]
        frame = pl.concat(parts, how="vertical_relaxed").drop_nulls(keys or None if keys else []).sort("t", "id", "rule")
        if frame.is_empty():
            return {}
        if not keys:
            return {(): Series(*(frame[name].to_list() for name in ("t", "w", "rule", "value", "start")))}
        grouped = frame.group_by(keys, maintain_order=True).agg("t", "w", "rule", "value", "start")
        return {row[: len(keys)]: Series(*row[len(keys) :]) for row in grouped.iter_rows()}

    def _has_times(self, name: str, until: int) -> bool:
        if name in self._ruleset.rules:
            return bool(self.outcome(name, until).hits)
        return not self._views.rows(name).is_empty()

    def _sliding(self, rule: Rule, outcome: Outcome, until: int) -> None:
        """event_count, value_* and temporal: one window slides over the rows of each group."""
        correlation = rule.correlation
        assert isinstance(correlation, EventCount | Value | Temporal)
        condition = correlation.condition
        threshold = condition if isinstance(condition, Threshold) else None
        fields = threshold.field or () if threshold else ()
        limit = until if self.waits(rule) else 2**62
        for group, series in self._series(rule, rule.rules, until, fields).items():
            measure = _measure(correlation)
            hits = windows.slide(series, correlation.timespan, measure, self._holds(rule, threshold), limit)
            if hits:
                outcome.hits[group] = hits
            elif near := _near(series, correlation, threshold, limit):
                outcome.missed[group] = near

    def _holds(self, rule: Rule, threshold: Threshold | None) -> Callable[[Measure], bool]:
        if rule.condition is not None:
            index = {name: at for at, name in enumerate(rule.rules)}
            node = rule.condition

            @functools.cache
            def decided(*there: bool) -> bool:
                return conditions.evaluate(node, lambda name: there[index[name]])

            def combined(measure: Measure) -> bool:
                assert isinstance(measure, windows.Rules)
                return decided(*(measure.seen[at] > 0 for at in range(len(index))))

            return combined
        bounds = threshold.bounds() if threshold else {"gte": float(len(rule.rules))}
        return lambda measure: windows.meets(bounds, measure.value())

    def _ordered(self, rule: Rule, outcome: Outcome, until: int) -> None:
        correlation = rule.correlation
        for group, series in self._series(rule, rule.rules, until).items():
            by_rule = [
                [t for t, at in zip(series.t, series.rule, strict=True) if at == number] for number in range(len(rule.rules))
            ]
            if all(by_rule) and (hits := windows.ordered(by_rule, correlation.timespan)):
                outcome.hits[group] = hits
            else:
                outcome.missed[group] = [Hit(series.t[-1], series.t[0])]

    def _cascade(self, rule: Rule, outcome: Outcome, until: int) -> None:
        correlation = rule.correlation
        assert isinstance(correlation, Cascade)
        skew = self._skews.get(rule.name, SKEW)
        asked = [(effect, False) for effect in correlation.effects] + [(effect, True) for effect in correlation.absent]
        causes = self._series(rule, [correlation.cause.rule], until)
        if not causes:
            return
        found = [self._series(rule, [effect.rule], until, effect.condition.field or ()) for effect, _ in asked]
        for group, series in causes.items():
            effects = [
                _effect(effect, part.get(group), correlation.timespan, absent=absent)
                for (effect, absent), part in zip(asked, found, strict=True)
            ]
            hits, missed = windows.cascade(
                list(zip(series.t, series.start, strict=True)), effects, correlation.timespan, skew, until
            )
            if hits:
                outcome.hits[group] = sorted(hits)
            elif missed:
                outcome.missed[group] = [Hit(at, at) for at in missed]

    def _ratio(self, rule: Rule, outcome: Outcome, until: int) -> None:
        correlation = rule.correlation
        assert correlation.type == "ratio"
        for group, seconds in self._seconds(rule, correlation.of, correlation.among).items():
            hits = windows.ratio(seconds, correlation.timespan, correlation.condition.bounds(), correlation.minimum, until)
            if hits:
                outcome.hits[group] = hits

    def _absence(self, rule: Rule, outcome: Outcome, until: int) -> None:
        correlation = rule.correlation
        assert correlation.type == "absence"
        edges = silence.edges(self._counts_of(rule, correlation.of), windows.MICRO + correlation.timespan)
        outcome.seen.update(edges.seen)
        if not any(at + windows.MICRO + correlation.timespan <= until for gaps in edges.gaps.values() for at, _ in gaps):
            return
        alive = self._counts_of(rule, correlation.while_, grouped=False)["t"].unique().sort().to_list()
        enough = (float(correlation.after.gte), correlation.after.within)
        before = self._seconds(rule, correlation.after.rule, None, only=edges.gaps)
        for group, gaps in edges.gaps.items():
            told = before.get(group, Seconds([], [], []))
            known = list(zip(told.t, told.of, strict=True))
            if hits := windows.absence(gaps, alive, known, correlation.timespan, enough, until):
                outcome.hits[group] = hits

    def _baseline(self, rule: Rule, outcome: Outcome, until: int) -> None:
        correlation = rule.correlation
        assert correlation.type == "baseline"
        begun = self._state.clocks.begun(self._kinds(rule))
        for group, seconds in self._seconds(rule, correlation.of, correlation.among).items():
            hits = windows.baseline(
                seconds, correlation.timespan, correlation.against, correlation.condition.factor, correlation.minimum,
                share=correlation.among is not None, begun=begun, until=until,
            )  # fmt: skip
            if hits:
                outcome.hits[group] = hits

    def _kinds(self, rule: Rule) -> set[str]:
        """The kinds of streams that may give the rows of a rule: its formats, and envelopes where no name tells who wrote."""
        selectors = [self._ruleset.detections[name].selector for name in rule.detections]
        formats = {f.name for f in parsers.all_formats().values() if any(s.admits(kind) for s in selectors for kind in f.sources)}
        return formats | set(parsers.all_envelopes()) | {"unknown"}

    def _seconds(self, rule: Rule, of: str, among: str | None, only: Iterable[Group] | None = None) -> dict[Group, Seconds]:
        """What was counted in each second, by group; `only` of those."""
        keys = [f"g{at}" for at in range(len(rule.correlation.group_by))]
        parts = [self._counts_of(rule, of).rename({"n": "of"})]
        if among:
            parts.append(self._counts_of(rule, among).rename({"n": "among"}))
        frame = pl.concat(parts, how="diagonal_relaxed").drop_nulls(keys)
        if only is not None and keys:
            wanted = pl.DataFrame(list(only), schema=dict.fromkeys(keys, pl.String()), orient="row")
            frame = frame.join(wanted, on=keys, how="semi")
        if not among:
            frame = frame.with_columns(pl.lit(0.0).alias("among"))
        summed = frame.group_by([*keys, "t"]).agg(pl.col("of").sum(), pl.col("among").sum()).sort("t")
        if not keys:
            return {(): Seconds(*(summed[name].to_list() for name in ("t", "of", "among")))} if len(summed) else {}
        grouped = summed.group_by(keys, maintain_order=True).agg("t", "of", "among")
        return {row[: len(keys)]: Seconds(*row[len(keys) :]) for row in grouped.iter_rows()}

    def _counts_of(self, rule: Rule, name: str, *, grouped: bool = True) -> pl.DataFrame:
        """`g*`, t (start of the second), n: all-rows counts where there are, else counts of matched rows."""
        wanted = aggregate.key_columns(rule, name) if grouped else []
        if plans := self._counts.plans_of(rule, name):
            summed = aggregate.summed(rule) if name == getattr(rule.correlation, "of", None) else ()
            number = f"s:{name}:{summed[0]}" if summed else f"n:{name}"
            parts = [self._counts.numbers(plan, name, number, wanted) for plan in plans]
            return pl.concat(parts)
        second = pl.col("t") // windows.MICRO * windows.MICRO
        frame = self._views.rows(name).with_columns(second.alias("t"), pl.col("w").cast(pl.Float64).alias("n"))
        return grouping.numbers(frame, wanted)


_GROWING = ("event_count", "value_count", "temporal", "temporal_ordered")


def _measure(correlation: EventCount | Value | Temporal) -> Measure:
    if isinstance(correlation, EventCount):
        return windows.Count()
    if isinstance(correlation, Temporal):
        return windows.Rules()
    if correlation.type == "value_count":
        return windows.Distinct()
    if correlation.type == "value_percentile":
        return windows.Percentile(correlation.condition.percentile or 50)
    return windows.Total(mean=correlation.type == "value_avg")


def _near(series: Series, correlation: EventCount | Value | Temporal, threshold: Threshold | None, limit: int) -> list[Hit]:
    """A group that came half of the way: half the number asked for, or some of the rules."""
    if isinstance(correlation, Temporal):
        return [Hit(series.t[-1], series.t[0])]
    floor = max((v for v in (threshold.gte, threshold.gt) if v is not None), default=None) if threshold else None
    if floor is None or not isinstance(correlation, EventCount) or floor < 2:  # noqa: PLR2004 (half of one is none)
        return []
    return windows.slide(series, correlation.timespan, windows.Count(), lambda m: (m.value() or 0) * 2 >= floor, limit)[:1]


def look_back(correlation: Correlation) -> int:
    """How far before a hit (microseconds) rows may matter to it."""
    parts = [correlation.timespan, getattr(correlation, "against", 0)]
    if correlation.type == "absence":
        parts.append(correlation.after.within)
    return sum(parts)


def _effect(effect: Effect, series: Series | None, span: int, *, absent: bool) -> Effects:
    found = series or Series([], [], [], [], [])
    distinct = effect.condition.field is not None
    return Effects(found.t, found.w, found.value, found.start, effect.within or span, effect.condition.bounds(), distinct, absent)


def _positive(node: conditions.Node, *, sign: bool = True) -> set[str]:
    """The names that stand without negation."""
    if isinstance(node, conditions.Ref):
        return {node.name} if sign else set()
    if isinstance(node, conditions.Not):
        return _positive(node.child, sign=not sign)
    return {name for child in node.children for name in _positive(child, sign=sign)}
