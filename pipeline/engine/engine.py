"""The engine: feed it raw batches, ask it for incidents. Pure: it reads no clock, no file, no network.

    engine = Engine(ruleset, cluster="lab")
    engine.feed(batches)
    for incident in engine.incidents(): ...

However rows are cut into batches, shuffled within the allowed lateness, or interrupted by `snapshot` and `restore`, the
incidents after `finish` are the same.
"""

import functools
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipeline import parsers
from pipeline.engine import aggregate, explain, incidents, objects, retention, support
from pipeline.engine.blocks import read_lines
from pipeline.engine.clocks import IDLE, LATENESS, SECOND
from pipeline.engine.correlate import SKEW, Correlator, look_back
from pipeline.engine.incidents import Span
from pipeline.engine.intake import Intake
from pipeline.engine.matching import Matcher
from pipeline.engine.routing import Names
from pipeline.engine.state import Limits, State
from pipeline.engine.times import by_minute
from pipeline.engine.views import Views
from pipeline.errors import StateError
from pipeline.model import columns
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch
from pipeline.parsers import proc
from pipeline.signatures.detection import tests
from pipeline.signatures.logsource import COUNTERS, OBJECTS
from pipeline.signatures.ruleset import Disaster, RuleSet

PIECES = 64
"""Chunks of a table of counts before they are merged: every batch adds one, and every query walks through all."""


class Engine:
    """One cluster's detection for one rule set.

    `cache` is a folder for compiled scan databases (safe to delete). `floor` (microseconds) is the time of rows without a time
    while no dated row was seen; `trusting` takes every time as it is, however lone. `names` are a site's own words for what
    writes which format. `meter` counts seconds, where it is asked what each signature costs.
    """

    def __init__(  # noqa: PLR0913 (what a caller may choose, by keyword)
        self,
        ruleset: RuleSet,
        *,
        cluster: str = "",
        state: State | None = None,
        limits: Limits | None = None,
        cache: Path | None = None,
        floor: int = 0,
        trusting: bool = False,
        names: Names | None = None,
        meter: Callable[[], float] = float,
    ) -> None:
        self.cluster = cluster
        self._meter = meter
        self.costs: dict[str, float] = {}
        """Seconds by signature, as `meter` counts them."""
        self._floor = floor
        self.state = state or State()
        self.state.clocks.trusting = self.state.clocks.trusting or trusting
        self._ruleset = ruleset
        self._limits = limits or Limits()
        self._intake = Intake(ruleset, names or Names(), limits=self._limits, cache=cache)
        self._matcher = Matcher(ruleset, {**columns.COMMON, **columns.TOPOLOGY, **columns.DERIVED, **parsers.columns()})
        self._views = Views(ruleset, self.state, cluster)
        self._correlator = Correlator(ruleset, self.state, self._views, aggregate.plans(ruleset))
        self._counters = _wanted_counters(ruleset)
        self._look_back = max((look_back(rule.correlation) for rule in ruleset.rules.values()), default=0) + 2 * SKEW
        self._titles = {name: found.title for name, found in ruleset.detections.items()}
        self._known: dict[str, incidents.Known] = {}
        self._weights: dict[str, support.Weighed] = {}
        self._finished = False
        self._settled: dict[str, int] = {}
        """Rows at the beginning of each plan's counts that were merged."""

    def feed(self, batches: Iterable[RawBatch]) -> None:
        """Take rows in. Nothing is concluded yet."""
        text: list[RawBatch] = []
        for batch in batches:
            if batch.stream.format == OBJECTS:
                self._objects(batch)
            elif batch.stream.format == COUNTERS:
                self._samples(batch)
            else:
                text.append(batch)
        for plan, counts in self._intake.read(text, self.state, self._now()):
            self._add(plan, counts)
        if self._intake.candidates.due():
            self._match()

    def _add(self, plan: str, counts: pl.DataFrame) -> None:
        """More counts of a plan; those of the latest batches are merged now and then, since batches share seconds."""
        before = self.state.aggregates.get(plan)
        grown = counts if before is None else pl.concat([before, counts.select(before.columns)])
        self._correlator.new_counts(plan)
        if grown.n_chunks() > PIECES:
            settled = self._settled.get(plan, 0)
            grown = pl.concat([grown.head(settled), aggregate.merged(grown.slice(settled))], rechunk=True)
            self._settled[plan] = len(grown)
            self._correlator.merged_counts(plan, settled, len(grown))
        self.state.aggregates[plan] = grown

    def _match(self) -> None:
        """Parse the waiting candidates, keep those that match, and keep memory bounded."""
        candidates = self._intake.candidates
        frames = candidates.take(self.state, self._now())
        self._views.touch(self._matcher.keep(frames, candidates.active, self.state))
        candidates.active.clear()
        self._bound()

    def _now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._observed())

    def _observed(self) -> int:
        """The newest plausible event time fed so far."""
        return self.state.clocks.newest() or self._floor

    def incidents(self, at: int | None = None, *, live: int = 0) -> list[Incident]:
        """Every incident as it stands, explained; roots first, near misses last.

        With `at` (microseconds), as if it were that time and every row up to it had arrived. With `live`, it is at least that
        time, though no row may say so: a cluster that has fallen silent still ends incidents and has things missing.
        """
        self._match()
        if at is not None:
            now = until = at
        elif self._finished:
            now = until = (self._observed() // SECOND + 1) * SECOND  # the end of the last second
        else:
            now = max(self._observed(), live)
            until = max(self.state.clocks.watermark(), now - IDLE - LATENESS)
        return self._explained([incident for _, incident in self._current(now, until)])

    def observed(self) -> int:
        """The newest plausible event time fed so far (microseconds since 1970), 0 while there is none."""
        return self.state.clocks.newest()

    def waiting(self) -> bool:
        """Whether rows that a rule may want wait to be matched: positive evidence should not wait long."""
        return self._intake.candidates.waiting()

    def _current(self, now: int, until: int) -> list[tuple[Span, Incident]]:
        """The incidents of all signatures, weighed but not explained. A signature that fails is counted; the others go on."""
        found: list[tuple[Span, Incident]] = []
        for disaster in self._ruleset.signatures.values():
            begun = self._meter()
            try:
                found.extend(self._of(disaster, now, until))
            except Exception as error:  # noqa: BLE001 (whatever a rule meets in the data must not stop the others)
                state, name = self.state, disaster.slug
                state.counts["rule_errors", name] += 1
                state.samples_of_trouble.setdefault(("rule_errors", name), f"{type(error).__name__}: {error}"[:500])
            self.costs[disaster.slug] = self.costs.get(disaster.slug, 0.0) + self._meter() - begun
        return found

    def _of(self, disaster: Disaster, now: int, until: int) -> list[tuple[Span, Incident]]:
        """The incidents of one signature."""
        outcome = self._correlator.outcome(disaster.rule, until)
        frozen = {group: kept for (slug, group), kept in self.state.opened.items() if slug == disaster.slug}
        edge = self.state.forgotten
        spans, more = incidents.spans(disaster, outcome, frozen, (now, edge), self._limits)
        if more:
            self.state.counts["incidents_capped", disaster.slug] = max(more, self.state.counts["incidents_capped", disaster.slug])
        known = self._known.setdefault(disaster.slug, incidents.Known())
        built = incidents.build(disaster, outcome, self._titles, frozen, self.cluster, spans, edge, known)
        if not built:
            return []
        moving = support.moving(disaster.signature, self._ruleset, self._views, self._correlator, until)
        weighed = self._weights.setdefault(disaster.slug, support.Weighed())
        return weighed.update(built, moving, lambda incident: support.weigh(incident, disaster.signature, self._ruleset, moving))

    def _build_anew(self) -> None:
        """Rows may be otherwise now, though they are the same: nothing that was built of them holds."""
        self._known.clear()
        self._weights.clear()

    def _explained(self, found: list[Incident]) -> list[Incident]:
        explained = explain.explain(found, self._ruleset, self.state.topology, list(self.state.final.values()))
        return [support.blindness(incident, self.state) for incident in explained]

    def _forget(self, before: int) -> None:
        """Condense what is older than a time into the incidents it belongs to."""
        until = self.state.clocks.watermark()
        current = self._current(until, until)
        explained = {incident.id: incident for incident in self._explained([incident for _, incident in current])}
        for span, incident in current:
            key = (incident.signature, span.group)
            if incident.status == "near_miss" or incident.vetoed or span.first_hit >= before:
                continue
            if span.last < before and span.ended is not None:
                self.state.final[incident.id] = explained[incident.id]
                self.state.opened.pop(key, None)
            else:
                self.state.opened[key] = retention.freeze(incident, span.first_hit, before, silent=self._is_silence(incident))
        while len(self.state.final) > self._limits.final_incidents:
            self.state.counts["final_incidents_dropped", "oldest"] += 1
            del self.state.final[next(iter(self.state.final))]
        retention.forget(self.state, before, self._look_back)
        self._settled.clear()
        self._views.reset()
        self._build_anew()
        self._correlator.reset_counts()

    def _is_silence(self, incident: Incident) -> bool:
        rule = self._ruleset.rules[self._ruleset.signatures[incident.signature].rule]
        return rule.correlation.type == "absence"

    def _bound(self) -> None:
        """Keep memory bounded: old rows go, crowds are folded."""
        before = retention.due(self.state)
        if before is not None:
            self._forget(before)
        folded = retention.fold(self.state, self._limits, self._matcher.keys)
        if folded:
            self._views.reset()
            self._build_anew()
        samples = self.state.samples
        if samples is not None and len(samples) > self._limits.samples:
            self.state.counts["samples_dropped", "oldest"] += len(samples) - self._limits.samples
            self.state.samples = samples.sort("@timestamp", "event.id").tail(self._limits.samples)
            self._views.new_samples()

    def candidates(self) -> Mapping[str, int]:
        """Lines that were looked at for each detection since this engine was made: those in which one of its texts stands."""
        return self._intake.candidates.seen

    def evidence(self) -> dict[str, int]:
        """Matched rows by detection."""
        self._match()
        return {name: len(self._views.rows(name)) for name in self._ruleset.detections}

    def finish(self) -> None:
        """No more rows will come: what waits for the watermark is decided by what is there."""
        self._finished = True

    def settled(self) -> State:
        """The state with nothing left that waits beside it; picklable."""
        self._match()
        return self.state

    def snapshot(self) -> bytes:
        """The state as bytes."""
        return pickle.dumps((self._ruleset.digest, self.cluster, self.settled()))

    @classmethod
    def restore(
        cls,
        saved: bytes,
        ruleset: RuleSet,
        *,
        limits: Limits | None = None,
        cache: Path | None = None,
        names: Names | None = None,
        meter: Callable[[], float] = float,
    ) -> "Engine":
        """An engine that goes on where `snapshot` was taken. Raises StateError for a state of other rules."""
        digest, cluster, state = pickle.loads(saved)  # noqa: S301 (our own checkpoint)
        if digest != ruleset.digest:
            raise StateError("restoring a checkpoint: it was made with other rules; start anew or use those rules")
        return cls(ruleset, cluster=cluster, state=state, limits=limits, cache=cache, names=names, meter=meter)

    def _objects(self, batch: RawBatch) -> None:
        """Topology records: versions of objects, and when they were seen."""
        lines = self._lines(batch, OBJECTS)
        read = [
            (line, objects.read(line, f"{batch.stream.id}:{at}")) for at, line in zip(_offsets(batch, lines), lines, strict=True)
        ]
        good = [found for _, found in read if found is not None]
        bad = [line for line, found in read if found is None and line.strip()]
        if bad:
            self.state.counts["unparsed", OBJECTS] += len(bad)
            self.state.samples_of_trouble.setdefault(("unparsed", OBJECTS), bad[0][:200])
        since = self.state.topology.add(good)
        self._hear(batch, pl.Series([version.at for _, version in good], dtype=pl.Int64))
        if since is not None:
            self._views.new_topology(since)
            self._build_anew()
            self._correlator.new_topology(since)

    def _samples(self, batch: RawBatch) -> None:
        """Counter samples; only the counters that a rule names are kept."""
        lines = self._lines(batch, COUNTERS)
        frame = pl.DataFrame({"record": lines})
        unread = proc.unknown(frame)["line"].unique()
        if len(unread):
            self.state.counts["unparsed", COUNTERS] += len(unread)
            self.state.samples_of_trouble.setdefault(("unparsed", COUNTERS), lines[int(unread.min())][:200])  # type: ignore[arg-type]
        found = proc.samples(frame, self._counters)
        offsets = pl.Series(_offsets(batch, lines), dtype=pl.Int64)
        identity = pl.lit(f"{batch.stream.id}:") + pl.lit(offsets).gather(pl.col("line")).cast(pl.String)
        rows = found.drop_nulls("@timestamp").select(
            pl.concat_str(identity, pl.lit("/"), "counter.name", pl.lit("/"), "counter.instance").alias("event.id"),
            "@timestamp",
            pl.lit(batch.stream.cluster, pl.String).alias("k8s.cluster.name"),
            pl.lit(batch.stream.node, pl.String).alias("k8s.node.name"),
            "counter.name",
            "counter.instance",
            pl.col("counter.value").cast(pl.Int64),
        )
        if rows.is_empty():
            return
        self._hear(batch, rows["@timestamp"].dt.epoch("us"))
        known = self.state.samples
        self.state.samples = rows if known is None else pl.concat([known, rows])
        self._views.new_samples()

    def _lines(self, batch: RawBatch, label: str) -> pl.Series:
        """The records of a batch that is read here, counted."""
        lines, damaged = read_lines(batch.data)
        self.state.counts["lines", label] += len(lines)
        if damaged:
            self.state.counts["invalid_utf8", label] += 1
        return lines

    def _hear(self, batch: RawBatch, times: pl.Series) -> None:
        stream = batch.stream
        self.state.clocks.hear(stream.id, stream.format or "", stream.node, by_minute(times))


def _offsets(batch: RawBatch, lines: pl.Series) -> Sequence[int]:
    """Where each record stood in its stream."""
    if batch.offsets is not None:
        return batch.offsets.to_list()
    starts = (lines.str.len_bytes().cast(pl.Int64) + 1).cum_sum().shift(1, fill_value=0) + batch.offset
    return starts.to_list()


@functools.lru_cache(maxsize=1)
def _wanted_counters(ruleset: RuleSet) -> frozenset[str]:
    """The counters that loaded rules name."""
    return frozenset(
        str(test.value)
        for found in ruleset.detections.values()
        for test in tests(found.tree)
        if test.field == "counter.name" and test.kind == "eq"
    )
