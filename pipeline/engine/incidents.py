"""Hits to incidents: one incident a signature and group as long as evidence keeps coming, with what its rows touched.

An incident starts with the earliest evidence of its first hit, is detected when that hit is complete (and, with `for`, was
met again so much later), is extended by further evidence, and ends when there was none for `keep_firing_for`.
"""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipeline.engine.correlate import Group, Outcome
from pipeline.engine.grouping import SIDE_COLUMNS
from pipeline.engine.retention import Frozen, thaw
from pipeline.engine.state import Limits
from pipeline.engine.windows import MICRO, Hit
from pipeline.model import columns
from pipeline.model.incident import Cell, Incident, Line, Status, Touch
from pipeline.signatures.models import Signature
from pipeline.signatures.ruleset import Disaster

TOP = 5
MAX_CELLS = 5000
"""Cells kept in an incident's evidence table; beyond, seconds are merged to 10, to 60, and then the latest are only counted."""
LINES = 40


@dataclass(frozen=True, slots=True)
class Span:
    """One incident of a group before it has evidence."""

    group: Group
    started: int
    detected: int
    last: int
    ended: int | None
    first_hit: int
    missed: bool = False


@dataclass(slots=True)
class Known:
    """The incidents of a signature as they were built last: of hundreds that are open, most have no new rows at a look."""

    outcome: Outcome | None = None
    signs: dict[Group, tuple[int, ...]] = field(default_factory=dict)
    """Of each group, what tells its rows from any other set of rows."""
    built: dict[Span, tuple[tuple[int, ...] | None, Incident]] = field(default_factory=dict)

    def unchanged(self, span: Span) -> bool:
        """Whether the incident at a span stands on the rows that it was built of."""
        return span in self.built and self.built[span][0] == self.signs.get(span.group)


def build(  # noqa: PLR0913, PLR0917 (one place makes incidents, and this is all they are made of)
    found: Disaster,
    outcome: Outcome,
    titles: Mapping[str, str],
    frozen: Mapping[Group, Frozen],
    cluster: str,
    at: Sequence[Span],
    edge: int,
    known: Known,
) -> list[tuple[Span, Incident]]:
    """The incidents of a signature `at` its spans, near misses among them.

    What was detected before `edge` (microseconds) is settled: `frozen` is what was kept, by group, of those open then. `known`
    are those of the last time, which this brings up to date.
    """
    if known.outcome is not outcome:
        known.outcome, known.signs = outcome, _signs(outcome)
    fresh = [span for span in at if span.group in frozen or not known.unchanged(span)]
    made = dict(zip(fresh, _built(found, outcome, titles, frozen, cluster, fresh, edge), strict=True))
    known.built = {span: (known.signs.get(span.group), made[span] if span in made else known.built[span][1]) for span in at}
    return [(span, known.built[span][1]) for span in at]


def _signs(outcome: Outcome) -> dict[Group, tuple[int, ...]]:
    """What tells the rows of each group from any other set of rows."""
    keys = [f"g{at}" for at in range(len(outcome.keys))]
    if outcome.rows.is_empty():
        return {}
    telling = [name for name in ("id", "detection", "t", "w", "message") if name in outcome.rows.columns]
    told = pl.len().alias("n"), pl.struct(telling).hash().sum().alias("sign")
    if not keys:
        return {(): outcome.rows.select(told).row(0)}
    found = outcome.rows.lazy().group_by(keys).agg(told).collect(engine="in-memory")
    return {tuple(map(str, row[: len(keys)])): row[len(keys) :] for row in found.iter_rows()}


def _built(  # noqa: PLR0913, PLR0917 (as `build`)
    found: Disaster,
    outcome: Outcome,
    titles: Mapping[str, str],
    frozen: Mapping[Group, Frozen],
    cluster: str,
    at: Sequence[Span],
    edge: int,
) -> Iterator[Incident]:
    for span, rows in zip(at, _evidence(outcome, at), strict=True):
        if span.group in frozen and frozen[span.group].started == span.started:
            newer = _incident(found, outcome, span, rows.filter(pl.col("t") >= edge), titles, cluster)
            whole = thaw(newer, frozen[span.group])
            known = {name: titles[name] for name in whole.counts if name in titles}
            yield replace(whole, titles=known, entities=entities(whole.cells, whole.group))
        else:
            yield _incident(found, outcome, span, rows, titles, cluster)


def spans(
    found: Disaster, outcome: Outcome, frozen: Mapping[Group, Frozen], times: tuple[int, int], limits: Limits
) -> tuple[list[Span], int]:
    """When and where there are incidents of a signature, and how many more there were than may be. `times` are now and the edge
    before which all is settled (microseconds). Of too many, those that began first are kept.
    """
    now, edge = times
    every = _real(found.signature, outcome, frozen, now, edge)
    real = sorted((span for span in every if not span.missed), key=_earliest)
    missed = sorted((*(span for span in every if span.missed), *_missed(outcome, frozen)), key=_earliest)
    kept = real[: limits.open_incidents]
    return [*kept, *missed[: limits.near_misses]], len(real) - len(kept)


def _earliest(span: Span) -> tuple[int, Group]:
    return span.started, span.group


def _real(signature: Signature, outcome: Outcome, frozen: Mapping[Group, Frozen], now: int, edge: int) -> list[Span]:
    """Spans of the groups in which the condition held."""
    quiet = max(signature.alert.keep_firing_for, signature.correlation.timespan if signature.correlation else 0)
    times = _times(outcome)
    hits = {group: [hit for hit in there if hit.at >= edge] for group, there in outcome.hits.items()}
    for group, kept in frozen.items():
        until = _silent_until(outcome.seen.get(group, []), kept, now) if kept.silent else kept.last
        again = [Hit(at, kept.started, until) for at in (kept.first_hit, kept.detected)]
        hits[group] = [*again, *hits.get(group, [])]
    return [
        span
        for group, there in sorted(hits.items())
        for span in _spans(group, there, times.get(group, []), quiet, signature.alert.for_, now)
    ]


def _missed(outcome: Outcome, frozen: Mapping[Group, Frozen]) -> list[Span]:
    """The first near miss of each group in which the condition never held."""
    return [
        Span(group, hit.start, hit.at, hit.at, hit.at, hit.at, missed=True)
        for group, missed in sorted(outcome.missed.items())
        for hit in missed[:1]
        if group not in outcome.hits and group not in frozen
    ]


def _silent_until(seen: Sequence[int], kept: Frozen, now: int) -> int:
    """How long a silence that was open went on: until what is missing was seen again."""
    return min((at for at in seen if at > kept.detected), default=now)


def plain(key: str) -> str:
    """A group key without the side it was read from."""
    return key.removeprefix("upstream.").removeprefix("client.")


def group_of(keys: Sequence[str], values: Group) -> dict[str, str]:
    """The group as people see it: sides are left out where that keeps keys apart."""
    names = [plain(key) for key in keys]
    shown = names if len(set(names)) == len(names) else list(keys)
    return dict(zip(shown, values, strict=True))


def _times(outcome: Outcome) -> dict[Group, list[int]]:
    """The times of the evidence rows of each group, in order."""
    keys = [f"g{at}" for at in range(len(outcome.keys))]
    if outcome.rows.is_empty():
        return {}
    if not keys:
        return {(): outcome.rows["t"].sort().to_list()}
    grouped = outcome.rows.sort("t").group_by(keys, maintain_order=True).agg("t")
    return {row[:-1]: row[-1] for row in grouped.iter_rows()}


def _spans(group: Group, hits: Sequence[Hit], times: Sequence[int], quiet: int, persist: int, now: int) -> list[Span]:
    """Incidents of one group: a hit opens one; evidence, and hits that share evidence, extend it; quiet ends it."""
    spans: list[Span] = []
    ordered = sorted(hits, key=lambda hit: (hit.start, hit.at))
    at = row = 0
    while at < len(ordered):
        first, last = at, max(ordered[at].at, ordered[at].until)
        row = max(row, bisect_left(times, ordered[at].start))
        extended = True
        while extended:
            extended = False
            while at < len(ordered) and ordered[at].start <= last + quiet:
                last = max(last, ordered[at].at, ordered[at].until)
                at, extended = at + 1, True
            while row < len(times) and times[row] <= last + quiet:
                last = max(last, times[row])
                row, extended = row + 1, True
        spans.append(_span(group, ordered[first:at], last, quiet, persist, now))
    return spans


def _span(group: Group, hits: Sequence[Hit], last: int, quiet: int, persist: int, now: int) -> Span:
    """One incident; with `for`, it is detected when its condition was met, or still held, so much after it first was."""
    first = min(hit.at for hit in hits)
    wanted = first + persist
    lasting = [max(hit.at, wanted) for hit in hits if hit.at >= wanted or hit.until >= wanted]
    ended = last if last + quiet <= now else None
    detected = min(lasting, default=first)
    return Span(group, hits[0].start, detected, last, ended, first, missed=not lasting)


def _evidence(outcome: Outcome, spans: Sequence[Span]) -> list[pl.DataFrame]:
    """The rows of each incident."""
    parts = []
    by_group: dict[Group, pl.DataFrame] = {}
    keys = [f"g{at}" for at in range(len(outcome.keys))]
    if keys and spans and not outcome.rows.is_empty():
        wanted = pl.DataFrame(list({span.group for span in spans}), schema=dict.fromkeys(keys, pl.String), orient="row")
        some = outcome.rows.join(wanted, on=keys, how="semi", maintain_order="left")
        by_group = {tuple(str(part) for part in key): rows for key, rows in some.group_by(keys, maintain_order=True)}
    for span in spans:
        rows = by_group.get(span.group, outcome.rows.clear()) if keys else outcome.rows
        parts.append(rows.filter(pl.col("t").is_between(span.started, span.last)))
    return parts


def _incident(
    found: Disaster, outcome: Outcome, span: Span, rows: pl.DataFrame, titles: Mapping[str, str], cluster: str
) -> Incident:
    signature = found.signature
    cells, rest = _cells(rows)
    group = group_of(outcome.keys, span.group)
    status: Status = "near_miss" if span.missed else ("resolved" if span.ended is not None else "firing")
    counts = {
        str(name): int(weight) for name, weight in rows.group_by("detection").agg(pl.col("w").sum()).sort("detection").iter_rows()
    }
    return Incident(
        id=identity(cluster, signature, group, span.started),
        signature=found.slug,
        title=signature.title,
        layer=signature.layer,
        level=signature.level,
        status=status,
        cluster=cluster,
        group=group,
        started=span.started,
        detected=span.detected,
        last=span.last,
        ended=span.ended,
        rows=sum(counts.values()),
        counts=counts,
        titles={name: titles[name] for name in counts if name in titles},
        entities=entities(cells, group),
        cells=cells,
        rest=rest,
        lines=_lines(rows),
        shown=_shown(rows, signature),
        confidence=signature.confidence,
        version=signature.version,
        digest=found.digest,
        what=signature.what,
        cause_text=signature.cause,
        impact=signature.impact,
    )


def identity(cluster: str, signature: Signature, group: Mapping[str, str], started: int) -> str:
    """The id of an incident: a hash of cluster, rule id, group and start."""
    text = "\x1f".join([cluster, signature.id, *(f"{key}={group[key]}" for key in sorted(group)), str(started)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cells(rows: pl.DataFrame) -> tuple[tuple[Cell, ...], int]:
    """The evidence table: rows by second, detection and touched entities, and the number of rows that had no room."""
    if rows.is_empty():
        return (), 0
    places = [name for name in (*columns.ENTITY, *SIDE_COLUMNS) if name in rows.columns]
    second = (pl.col("t") // MICRO * MICRO).alias("second")
    unique = rows.unique("id", keep="first", maintain_order=True)
    counted = unique.group_by(second, "detection", *places).agg(pl.col("w").sum())
    cells = _merged(counted, places, MICRO)
    for width in (10, 60):
        if len(cells) > MAX_CELLS:
            cells = _merged(counted, places, width * MICRO)
    return tuple(cells[:MAX_CELLS]), sum(cell.weight for cell in cells[MAX_CELLS:])


def _merged(counted: pl.DataFrame, places: Sequence[str], width: int) -> list[Cell]:
    """Counts by time of a width (microseconds) and touched entities, in an order that depends on nothing else."""
    known: dict[tuple[object, ...], tuple[tuple[Touch, ...], str | None]] = {}
    weights: dict[tuple[int, str, tuple[Touch, ...], str | None], int] = {}
    for second, rule, *values, weight in counted.iter_rows():
        key = tuple(tuple(v) if isinstance(v, list) else v for v in values)
        if key not in known:
            row = dict(zip(places, values, strict=True))
            known[key] = touched(row), _text(row.get("k8s.node.name"))
        cell = (second // width * width, str(rule), *known[key])
        weights[cell] = weights.get(cell, 0) + weight
    ordered = sorted(weights.items(), key=lambda item: str(item[0]))
    return [Cell(at, rule, touches, weight, observer) for (at, rule, touches, observer), weight in ordered]


def touched(row: Mapping[str, object]) -> tuple[Touch, ...]:
    """The entities that a row touches: those it names as upstream or client; its reporter only where it names neither."""
    found: dict[Touch, None] = {}
    upstream = [row.get(f"upstream.{key}") or [] for key in columns.ENTITY]
    for at in range(max((len(values) for values in upstream if isinstance(values, list)), default=0)):
        found[tuple(values[at] if isinstance(values, list) and at < len(values) else None for values in upstream)] = None
    found[tuple(_text(row.get(f"client.{key}")) for key in columns.ENTITY)] = None
    named = [touch for touch in found if any(touch)]
    about = row.get("k8s.service.name")
    if not named:
        named = [tuple(_text(row.get(key)) for key in columns.ENTITY)]
    elif about and not any(touch[-1] for touch in named):
        named.append((*(None,) * (len(columns.ENTITY) - 1), _text(about)))
    return tuple(sorted((touch for touch in named if any(touch)), key=str))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def entities(cells: Sequence[Cell], group: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Per entity key the values that rows touched, with their number, five at most, most first."""
    counters: dict[str, Counter[str]] = {key: Counter() for key in columns.ENTITY}
    for cell in cells:
        for at, key in enumerate(columns.ENTITY):
            for value in {touch[at] for touch in cell.touches if touch[at]}:
                counters[key][str(value)] += cell.weight
    for key, value in group.items():
        if key in counters and not counters[key]:
            counters[key][value] = sum(cell.weight for cell in cells)
    ranked = {key: sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:TOP] for key, counter in counters.items()}
    return {key: dict(values) for key, values in ranked.items() if values}


def _lines(rows: pl.DataFrame) -> tuple[Line, ...]:
    """The first lines of every kind of evidence, as they were written."""
    if "message" not in rows.columns or rows.is_empty():
        return ()
    kinds = max(1, rows["detection"].n_unique())
    each = max(3, LINES // kinds)
    some = rows.filter(pl.col("message").is_not_null()).unique("id", keep="first", maintain_order=True)
    first = some.group_by("detection", maintain_order=True).head(each).sort("t", "id")
    return tuple(
        Line(int(t), str(source), str(rule), str(origin), str(text)[:2000])
        for t, source, rule, origin, text in first.select("t", "source", "detection", "id", "message").iter_rows()
    )


def _shown(rows: pl.DataFrame, signature: Signature) -> dict[str, tuple[str, ...]]:
    """The most frequent values of the columns under `fields`."""
    shown: dict[str, tuple[str, ...]] = {}
    for name in rows.columns:
        if (
            name in columns.ENTITY
            or name in ("t", "w", "id", "detection", "source", "message")
            or name in SIDE_COLUMNS
            or (name.startswith("g") and name[1:].isdigit())
        ):
            continue
        column = rows[name]
        values = column.explode() if isinstance(column.dtype, pl.List) else column
        counts = Counter(str(value) for value in values.drop_nulls().to_list())
        if counts:
            shown[name] = tuple(value for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP])
    return shown
