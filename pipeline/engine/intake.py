"""Raw batches to parsed candidate rows and all-rows counts: the one step that sees every line.

For each block: scan the raw bytes for literals, look at the second of every row, count what ratio, absence and baseline rules
ask for, and parse in full only the rows that some rule may want.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from pipeline import parsers
from pipeline.engine import aggregate, blocks, partial, routing, scan
from pipeline.engine.blocks import OWNER, Block
from pipeline.engine.clocks import MINUTE
from pipeline.engine.state import Limits, State
from pipeline.model import columns
from pipeline.model.stream import RawBatch, Stream
from pipeline.parsers import Context
from pipeline.parsers.envelopes import cri
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Detection, RuleSet

CRI = "cri"
UNDECIDED = 10_000
"""Lines of an unnamed stream that are looked at for a format with an all-rows face."""
ALWAYS = frozenset({"k8s.events"})
"""Formats of which every row is parsed."""


@dataclass(slots=True)
class Taken:
    """What a set of batches gave: parsed candidate rows, the detections that may match them, and counts by plan."""

    rows: list[pl.DataFrame] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    counts: list[tuple[str, pl.DataFrame]] = field(default_factory=list)


class Intake:
    """Reads raw batches for one rule set."""

    def __init__(self, ruleset: RuleSet, *, limits: Limits, cache: Path | None = None) -> None:
        texts = {name: found.literals for name, found in ruleset.detections.items() if found.literals}
        literals, self._numbers = scan.index(texts)
        self._by_literal: dict[int, list[str]] = {}
        for name, numbers in self._numbers.items():
            for number in numbers:
                self._by_literal.setdefault(number, []).append(name)
        self._scanner = scan.Scanner(literals, cache=cache)
        used = _wanted_as_rows(ruleset)
        self._unscanned = [
            found for found in ruleset.detections.values() if not found.literals and not found.dense and found.name in used
        ]
        self._plans = aggregate.plans(ruleset)
        self._limits = limits

    def read(self, batches: Iterable[RawBatch], state: State, now: int) -> Taken:
        """Take batches in; `state` receives clocks, signs of life, partial lines and counters of trouble."""
        taken = Taken()
        for block in blocks.build(batches):
            if block.damaged:
                state.counts["invalid_utf8", block.format or block.envelope or "?"] += 1
            if block.envelope == CRI:
                self._cri(block, state, taken, now)
            else:
                self._wrapped(blocks.glue(block) if block.envelope == "kmsg" else block, state, taken, now)
        return taken

    def _cri(self, block: Block, state: State, taken: Taken, now: int) -> None:
        """The fast way: raw lines are scanned as they are, and only candidates lose their header."""
        seconds = block.lines.to_frame("record").select(cri.second(pl.col("record")).dt.epoch("us")).to_series()
        self._look(block, seconds, state)
        self._count(block, seconds, state, taken)
        wanted, active = self._candidates(block, block.data, block.ends, block.lines)
        taken.active |= active
        merged = partial.merge(block, state, self._limits)
        if merged is not None:
            wanted = wanted.filter(~wanted.is_in(merged.covered.implode()))
            self._texts(merged.rows, block, state, taken, now)
        if len(wanted):
            frame = pl.DataFrame({"record": block.lines.gather(wanted), "_line": wanted})
            self._parse(self._unwrap(CRI, frame, block, state, now), block, state, taken, now)

    def _wrapped(self, block: Block, state: State, taken: Taken, now: int) -> None:
        """Records of which the message must be taken out before it can be scanned."""
        frame = pl.DataFrame({"record": block.lines, "_line": pl.int_range(len(block.lines), dtype=pl.UInt32, eager=True)})
        state.counts["lines", block.format or block.envelope or "unknown"] += len(block.lines)
        if block.envelope is not None:
            parts = [(block.envelope, frame)]
        else:
            routed = frame.with_columns(routing.envelope_expr(pl.col("record")).alias("_envelope"))
            parts = [(str(key[0]), part) for key, part in routed.group_by("_envelope", maintain_order=True)]
        for name, part in parts:
            rows = self._unwrap(name, part, block, state, now)
            for (segment, node), group in rows.group_by("_seg", "k8s.node.name", maintain_order=True):
                stream = block.batches[int(str(segment))].stream
                who = stream if stream.node or node is None else replace(stream, id=f"{stream.id}|{node}", node=str(node))
                self._hear(who, block, group["@timestamp"].drop_nulls().dt.epoch("us"), state)
            self._texts(rows, block, state, taken, now)

    def _texts(self, rows: pl.DataFrame, block: Block, state: State, taken: Taken, now: int) -> None:
        """Scan messages that had to be unwrapped, and parse the candidates among them."""
        if rows.is_empty():
            return
        flat = rows["message"].str.replace_all("\n", " ", literal=True)
        data = ("\n".join(flat) + "\n").encode()
        ends = (flat.str.len_bytes().cast(pl.Int64) + 1).cum_sum()
        wanted, active = self._candidates(block, data, ends, flat)
        always = rows["format"].is_in(ALWAYS).fill_null(value=block.format in ALWAYS).arg_true()
        wanted = pl.concat([wanted, always.cast(pl.UInt32)]).unique().sort()
        taken.active |= active
        if len(wanted):
            self._parse(rows[wanted], block, state, taken, now)

    def _candidates(self, block: Block, data: bytes, ends: pl.Series, lines: pl.Series) -> tuple[pl.Series, set[str]]:
        """The rows that some rule may want, and those rules."""
        hits = self._scanner.scan(data, ends, lines)
        active = {name for number in hits["literal"].unique().to_list() for name in self._by_literal[number]}
        rows = [hits["row"]]
        for found in self._unscanned:
            extra = self._by_columns(found, block, lines)
            if extra is not None:
                rows.append(extra)
                active.add(found.name)
        return pl.concat(rows).unique().sort(), active

    def _by_columns(self, found: Detection, block: Block, lines: pl.Series) -> pl.Series | None:
        """Rows for a rule without literals: by its cheap columns, or all where it is expensive."""
        fmt = parsers.all_formats().get(block.format or "")
        if not found.cheap:
            return pl.int_range(len(lines), dtype=pl.UInt32, eager=True)
        named = detection.fields(found.loose)
        if fmt is None or not named <= set(fmt.cheap) or not any(found.selector.admits(kind) for kind in fmt.sources):
            return None
        schema = {name: fmt.cheap[name].cast for name in named}
        cut = aggregate.cut(fmt.cheap, sorted(named), pl.col("record"), strict=aggregate.strict_columns([found]))
        flags = lines.to_frame("record").select(cut).select(detection.to_expr(found.loose, schema).alias("x")).to_series()
        return flags.arg_true().cast(pl.UInt32)

    def _look(self, block: Block, seconds: pl.Series, state: State) -> None:
        """Clocks of every stream of a block of raw lines."""
        state.counts["lines", block.format or "unknown"] += len(seconds)
        if len(block.batches) == 1:
            self._hear(block.batches[0].stream, block, seconds.drop_nulls(), state)
            return
        frame = pl.DataFrame({"_seg": block.segments, "_s": seconds}).drop_nulls()
        for (segment,), group in frame.group_by("_seg", maintain_order=True):
            self._hear(block.batches[int(str(segment))].stream, block, group["_s"], state)

    def _hear(self, stream: Stream, block: Block, times: pl.Series, state: State) -> None:
        source = block.format or block.envelope or "unknown"
        state.clocks.hear(stream.id, source, stream.node, by_minute(times))

    def _count(self, block: Block, seconds: pl.Series, state: State, taken: Taken) -> None:
        """The all-rows face: one `group_by` a plan."""
        for name in sorted({plan.format for plan in self._plans}):
            segments = self._showing(name, block, state)
            if segments is None or segments:
                self._count_as(name, segments, block, seconds, taken)

    def _count_as(self, name: str, segments: list[int] | None, block: Block, seconds: pl.Series, taken: Taken) -> None:
        """Count the rows of the given segments (None: all) as lines of a format."""
        face = parsers.all_formats()[name].cheap
        plans = [plan for plan in self._plans if plan.format == name]
        names = sorted({column for plan in plans for column in plan.columns()})
        strict = aggregate.strict_columns(found for plan in plans for found in plan.detections)
        base = pl.DataFrame({"record": block.lines, "_seg": block.segments, "second": seconds})
        if segments is not None:
            base = base.filter(pl.col("_seg").is_in(segments))
        frame = base.with_columns(aggregate.cut(face, names, pl.col("record"), strict=strict)).drop("record")
        owners = block.owners().select("_seg", *aggregate.FROM_STREAM)
        for plan in plans:
            counts = aggregate.count(plan, frame).join(owners, on="_seg", how="left").drop("_seg")
            taken.counts.append((plan.name, counts))

    def _showing(self, name: str, block: Block, state: State) -> list[int] | None:
        """The segments whose lines are of a format: all (None) or none of them by name, else those that have shown such a line."""
        if block.format is not None:
            return None if block.format == name else []
        pattern = parsers.all_formats()[name].sniff
        undecided = [at for at, s in enumerate(block.streams()) if s.id not in state.faces and state.looked[s.id] < UNDECIDED]
        if undecided and pattern:
            texts = pl.DataFrame({"_seg": block.segments, "record": block.lines}).filter(pl.col("_seg").is_in(undecided))
            shown = texts.filter(cri.message(pl.col("record")).str.contains(pattern))["_seg"].unique().to_list()
            state.faces.update({block.batches[at].stream.id: name for at in shown})
            for at, number in texts.group_by("_seg").len().iter_rows():
                state.looked[block.batches[at].stream.id] += number
        return [at for at, stream in enumerate(block.streams()) if state.faces.get(stream.id) == name]

    def _unwrap(self, name: str, frame: pl.DataFrame, block: Block, state: State, now: int) -> pl.DataFrame:
        """Unwrapped rows with identity and what the stream knows of their writer."""
        parts = []
        boots = dict.fromkeys(stream.boot_time for stream in block.streams())
        reference = pl.Series([now]).cast(columns.TIME)[0]
        for boot in boots:
            chosen = frame
            if len(boots) > 1:
                mine = [at for at, stream in enumerate(block.streams()) if stream.boot_time == boot]
                chosen = frame.filter(block.segments.gather(frame["_line"]).is_in(mine))
            if chosen.is_empty():
                continue
            unwrapped = parsers.all_envelopes()[name].unwrap(chosen.select("record"), Context(boot, reference))
            lines = chosen["_line"].gather(unwrapped["line"])
            parts.append(self._own(unwrapped, lines, chosen["record"].gather(unwrapped["line"]), block, name, state))
        return (
            pl.concat(parts)
            if parts
            else self._own(
                pl.DataFrame(schema=columns.UNWRAPPED),
                pl.Series([], dtype=pl.UInt32),
                pl.Series([], dtype=pl.String),
                block,
                name,
                state,
            )
        )

    def _own(
        self, rows: pl.DataFrame, lines: pl.Series, records: pl.Series, block: Block, name: str, state: State
    ) -> pl.DataFrame:
        unread = rows["message"].is_null()
        if missed := int(unread.sum()):
            state.counts["unparsed", name] += missed
            state.samples_of_trouble.setdefault(("unparsed", name), records.filter(unread)[0][:200])
        several = rows["line"].is_duplicated()
        identity = block.identities(lines)
        if several.any():
            at = pl.int_range(len(rows), eager=True) - pl.Series(rows["line"].search_sorted(rows["line"], side="left"))
            identity = (
                pl.DataFrame({"i": identity, "a": at.cast(pl.String), "s": several})
                .select(pl.when("s").then(pl.col("i") + "." + pl.col("a")).otherwise("i"))
                .to_series()
            )
        owned = rows.with_columns(
            pl.coalesce("message", pl.lit(records)).alias("message"),
            pl.Series("event.id", identity),
            pl.Series("_seg", block.segments.gather(lines)),
        )
        owners = block.owners().rename({column: f"_{column}" for column in OWNER})
        joined = owned.join(owners, on="_seg", how="left", maintain_order="left")
        return joined.with_columns(pl.coalesce(column, f"_{column}").alias(column) for column in OWNER).drop(
            f"_{column}" for column in OWNER
        )

    def _parse(self, rows: pl.DataFrame, block: Block, state: State, taken: Taken, now: int) -> None:
        """Candidates in full: by the format that names give, where that does not understand by the look of the row."""
        reference = pl.Series([now]).cast(columns.TIME)[0]
        hinted = rows.with_columns(self._hints(rows, block))
        todo: list[tuple[str | None, pl.DataFrame]] = [
            (key[0] if key[0] is None else str(key[0]), part) for key, part in hinted.group_by("_format", maintain_order=True)
        ]
        for name, part in todo:
            parsed = self._as(name, part, block, state, reference) if name else None
            rest = part if parsed is None else part.filter(parsed["source"].is_null())
            if parsed is not None:
                taken.rows.append(parsed.filter(pl.col("source").is_not_null()))
            if not rest.is_empty():
                self._by_look(rest, name, block, state, taken, reference)

    def _hints(self, rows: pl.DataFrame, block: Block) -> pl.Expr:
        """The format of each row as far as names tell: the envelope's word, the block's, then the usual names."""
        if block.format is not None:
            return pl.coalesce("format", pl.lit(block.format)).alias("_format")
        known = ("container.name", "container.image.name", "k8s.pod.app", "process.name", "k8s.pod.name")
        distinct = rows.select(known).unique()
        named = distinct.with_columns(
            pl.Series("_named", [routing.format_of(*row) for row in distinct.iter_rows()], dtype=pl.String)
        )
        names = rows.join(named, on=known, how="left", nulls_equal=True, maintain_order="left")["_named"]
        return pl.coalesce("format", pl.lit(names)).alias("_format")

    def _by_look(self, rest: pl.DataFrame, name: str | None, block: Block, state: State, taken: Taken, reference: object) -> None:
        looked = rest.with_columns(routing.format_expr(pl.col("message")).alias("_format"))
        for (found,), part in looked.group_by("_format", maintain_order=True):
            parsed = self._as(str(found), part, block, state, reference) if found is not None and found != name else None
            if parsed is not None:
                taken.rows.append(parsed.filter(pl.col("source").is_not_null()))
                part = part.filter(parsed["source"].is_null())  # noqa: PLW2901 (what is left of it)
            if not part.is_empty():
                state.counts["plain", name or "text"] += len(part)
                taken.rows.append(_finish(part.with_columns(pl.lit(routing.TEXT).alias("source")), None))

    def _as(self, name: str, part: pl.DataFrame, block: Block, state: State, reference: object) -> pl.DataFrame | None:
        """Rows read by a format; times that stand only in the text move the clocks as well."""
        fmt = parsers.all_formats().get(name)
        if fmt is None:
            return None
        rows = _finish(part, fmt.parse(part, Context(None, reference)))  # type: ignore[arg-type]
        dated = pl.DataFrame({"_seg": part["_seg"], "before": part["@timestamp"], "after": rows["@timestamp"]})
        late = dated.filter(pl.col("before").is_null() & pl.col("after").is_not_null())
        for (segment,), group in late.group_by("_seg", maintain_order=True):
            self._hear(block.batches[int(str(segment))].stream, block, group["after"].dt.epoch("us"), state)
        return rows


def _finish(part: pl.DataFrame, parsed: pl.DataFrame | None) -> pl.DataFrame:
    """Unwrapped rows and what their format read in them, as event rows."""
    base = part.drop("line", "partial", "format", "_format", "_seg", "_line", strict=False)
    if parsed is None:
        return base
    clash = [name for name in parsed.columns if name in base.columns and name != "source"]
    merged = base.hstack(parsed.rename({name: f"_{name}" for name in clash}))
    filled = merged.with_columns(pl.coalesce(f"_{name}", name).alias(name) for name in clash).drop(f"_{name}" for name in clash)
    return filled.with_columns(pl.coalesce("@timestamp", "event.time").alias("@timestamp"))


def by_minute(times: pl.Series) -> dict[int, tuple[int, int]]:
    """Minute since 1970 to the oldest and the newest of the times (microseconds) in it."""
    if times.is_empty():
        return {}
    frame = pl.DataFrame({"m": times // MINUTE, "t": times})
    grouped = frame.group_by("m").agg(pl.col("t").min().alias("oldest"), pl.col("t").max().alias("newest"))
    return {minute: (oldest, newest) for minute, oldest, newest in grouped.iter_rows()}


def _wanted_as_rows(ruleset: RuleSet) -> set[str]:
    """The detections whose rows are wanted, not only their counts."""
    named = {
        name for rule in ruleset.rules.values() for name in rule.rules if not _only_counted(ruleset, rule.correlation.type, name)
    }
    shifts = {s.rule for d in ruleset.signatures.values() for s in (*d.signature.supports, *d.signature.contradicts)}
    return named | shifts | {found.rule for found in ruleset.signatures.values()}


def _only_counted(ruleset: RuleSet, kind: str, name: str) -> bool:
    found = ruleset.detections.get(name)
    return found is not None and kind in aggregate.COUNTED and aggregate.counted(found)
