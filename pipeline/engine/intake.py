"""Raw batches to candidates and all-rows counts: the one step that sees every line.

For each block: scan the bytes for literals, look at the second of every row, count what ratio, absence and baseline rules ask
for, and pass on only the rows that some rule may want (`candidates`).
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from pipeline import parsers
from pipeline.engine import aggregate, blocks, compact, partial, routing, scan
from pipeline.engine.blocks import Block, fill_owner
from pipeline.engine.candidates import EVENTS, Candidates, hints
from pipeline.engine.counting import Counter
from pipeline.engine.sampling import Sampler
from pipeline.engine.state import Limits, State
from pipeline.engine.times import by_minute, by_minute_and_segment
from pipeline.model.stream import RawBatch, Stream
from pipeline.parsers import Context, cheap
from pipeline.parsers.envelopes import cri
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Detection, RuleSet

CRI = "cri"
PARTS = (" stdout p", " stderr p")
"""What every line that is only a part of a message contains (the scan is caseless)."""
UNDECIDED = 10_000
"""Lines of an unnamed stream that are looked at for a format with an all-rows face, and as many again in its last block."""
LOOKED = 64 << 10
"""Bytes of a batch in which its envelope must show."""
_RUNTIME = re.compile(rb"^\d{4}-\d\d-\d\dT\S+ std(?:out|err) [FP]", re.MULTILINE)
ALWAYS = frozenset({EVENTS})
"""Formats of which every row is parsed."""

Counts = list[tuple[str, pl.DataFrame]]


@functools.lru_cache(maxsize=1)
def _scanned(ruleset: RuleSet) -> tuple[list[str], frozenset[int], dict[int, list[str]]]:
    """What is scanned for: the literals in one order, the numbers of those of partial lines, and the detections of each other."""
    texts = {name: found.literals for name, found in ruleset.detections.items() if found.literals}
    literals, numbers = scan.index({**texts, "": frozenset(PARTS)})
    parts = frozenset(numbers.pop(""))
    by_literal: dict[int, list[str]] = {}
    for name, found in numbers.items():
        for number in found:
            by_literal.setdefault(number, []).append(name)
    return literals, parts, by_literal


class Intake:
    """Reads raw batches for one rule set; what it finds waits in `candidates`."""

    def __init__(self, ruleset: RuleSet, names: routing.Names, *, limits: Limits, cache: Path | None = None) -> None:
        literals, self._parts, self._by_literal = _scanned(ruleset)
        self._scanner = scan.Scanner(literals, cache=cache)
        used = aggregate.wanted_as_rows(ruleset)
        self._unscanned = [d for d in ruleset.detections.values() if not d.literals and not d.dense and d.name in used]
        self._counters = [Counter(plan) for plan in aggregate.plans(ruleset)]
        self._counted_formats = tuple(sorted({counter.plan.format for counter in self._counters}))
        sniffs = [(name, parsers.all_formats()[name].sniff) for name in self._counted_formats]
        self._looks = [pl.col("text").str.contains(sniff).alias(name) for name, sniff in sniffs if sniff]
        self._limits = limits
        self.candidates = Candidates(names)
        self._writers = names
        self._sampler = Sampler()

    def read(self, batches: Iterable[RawBatch], state: State, now: datetime) -> Counts:
        """Take batches in; `state` receives clocks, partial lines and counters of trouble. Gives counts by plan."""
        counts: Counts = []
        for block in blocks.build(_told(batches, state), self._writers):
            label = block.format or block.envelope or "unknown"
            state.counts["lines", label] += len(block.lines)
            self.candidates.lines += len(block.lines)
            if block.damaged:
                state.counts["invalid_utf8", label] += 1
            if block.envelope == CRI:
                counts.extend(self._cri(block, state, now))
            else:
                counts.extend(self._wrapped(block, state, now))
            del block  # before the next is made: two at once would be the peak
        return counts

    def _cri(self, block: Block, state: State, now: datetime) -> Counts:
        """The fast way: raw lines are scanned as they are, and only candidates lose their header."""
        if block.format is not None:
            self._sampler.take(block.format, block.lines, state, now)
        lines = block.lines.to_frame("record")
        seconds = cri.seconds(block.lines, block.segments)
        self._look(block, seconds, state)
        hits = self._scanner.scan(block.data, block.ends, block.lines)
        wanted = self._wanted(hits, {block.format: None}, block.lines)
        rows = lines.hstack([block.segments.alias("_seg"), seconds.alias("second")])
        counts: Counts = []
        tagged = hits.filter(pl.col("literal").is_in(self._parts)) if len(hits) else hits
        merged = partial.of_block(block, tagged["row"], state, self._limits)
        if merged is not None:
            whole, covered = merged
            wanted = wanted.filter(~wanted.is_in(covered.implode()))
            rows = rows.with_row_index("_line").filter(~pl.col("_line").is_in(covered.implode())).drop("_line")
            counts.extend(self._texts(whole, block, now))
        if len(wanted):
            self.candidates.add_raw(block, wanted, now)
        for name, segments in self._showing(block, state).items():
            counts.extend(self._counted(name, segments, rows, block.owners()))
        return counts

    def _wrapped(self, block: Block, state: State, now: datetime) -> Counts:
        """Records of which the message must be taken out before it can be scanned."""
        block = blocks.glue(block) if block.envelope == "kmsg" else block
        numbers = pl.int_range(len(block.lines), dtype=pl.UInt32, eager=True)
        frame = pl.DataFrame({"record": block.lines, "_line": numbers})
        parts = [(block.envelope, frame)]
        if block.envelope is None:
            routed = frame.with_columns(routing.envelope_expr(pl.col("record")).alias("_envelope"))
            parts = [(str(key[0]), part) for key, part in routed.group_by("_envelope", maintain_order=True)]
        counts: Counts = []
        for name, part in parts:
            rows = self._unwrap(str(name), part, block, state, now)
            for (segment, node), group in rows.group_by("_seg", "k8s.node.name", maintain_order=True):
                stream = block.batches[int(str(segment))].stream
                who = stream if node in (None, stream.node) else replace(stream, id=f"{stream.id}|{node}", node=str(node))
                self._hear(who, block, group["@timestamp"].drop_nulls().dt.epoch("us"), state)
            rows = partial.of_rows(rows, self._names(block).gather(rows["_seg"]), state, self._limits)
            counts.extend(self._texts(rows, block, now))
        return counts

    def _texts(self, rows: pl.DataFrame, block: Block, now: datetime) -> Counts:
        """Scan messages that had to be unwrapped, pass on the candidates among them, and count them all."""
        if rows.is_empty():
            return []
        flat = rows["message"].str.replace_all("\n", " ", literal=True)
        data = ("\n".join(flat) + "\n").encode()
        ends = (flat.str.len_bytes().cast(pl.Int64) + 1).cum_sum()
        # The format that names give, else what a message looks like.
        named = rows.with_columns(hints(rows, block.format, self._writers))
        formats = named.select(pl.coalesce("_format", routing.format_expr(pl.col("message"))).alias("format")).to_series()
        faces = formats.to_frame().with_row_index("row").group_by("format", maintain_order=True).agg("row")
        wanted = self._wanted(self._scanner.scan(data, ends, flat), dict(faces.iter_rows()), flat)
        always = rows["format"].is_in(ALWAYS).fill_null(value=block.format in ALWAYS).arg_true()
        wanted = pl.concat([wanted, always.cast(pl.UInt32)]).unique().sort()
        if len(wanted):
            self._pass_on(rows[wanted], block, now)
        return self._counted_messages(rows, formats)

    def _wanted(self, hits: pl.DataFrame, faces: Mapping[str | None, list[int] | None], lines: pl.Series) -> pl.Series:
        """The rows that some rule may want, in order; those rules become active. `faces` are the rows by format (None: all)."""
        own = hits.filter(~pl.col("literal").is_in(self._parts)) if len(hits) else hits
        for number, lines_ in own["literal"].value_counts().iter_rows():
            for name in self._by_literal[number]:
                self.candidates.active.add(name)
                self.candidates.seen[name] += lines_
        rows = [own["row"]]
        for found in self._unscanned:
            for fmt, places in faces.items():
                some = pl.Series(places, dtype=pl.UInt32) if places is not None else None
                extra = self._by_columns(found, fmt, lines if some is None else lines.gather(some))
                if extra is not None:
                    rows.append(extra if some is None else some.gather(extra))
                    self.candidates.active.add(found.name)
        return pl.concat(rows).unique().sort()

    def _by_columns(self, found: Detection, name: str | None, lines: pl.Series) -> pl.Series | None:
        """Rows for a rule without literals: by its cheap columns, or all where it is expensive."""
        fmt = parsers.all_formats().get(name or "")
        if not found.cheap:
            return pl.int_range(len(lines), dtype=pl.UInt32, eager=True)
        if fmt is None or not any(found.selector.admits(kind) for kind in fmt.sources):
            return None
        named = sorted(detection.fields(found.loose))
        if not set(named) <= set(fmt.cheap):
            return None
        schema = {column: fmt.cheap[column].cast for column in named}
        rows = cheap.cut(lines.to_frame("record"), fmt.cheap, fmt.pieces, named)
        flags = rows.with_columns(cheap.tested(fmt.cheap, named)).select(detection.to_expr(found.loose, schema))
        return flags.to_series().arg_true().cast(pl.UInt32)

    def _look(self, block: Block, seconds: pl.Series, state: State) -> None:
        """Clocks of every stream of a block of raw lines; a line without the runtime's time was not written by it."""
        if missed := seconds.null_count():
            state.counts["unparsed", CRI] += missed
            state.samples_of_trouble.setdefault(("unparsed", CRI), block.lines.filter(seconds.is_null())[0][:200])
        if len(block.batches) == 1:
            self._hear(block.batches[0].stream, block, seconds.drop_nulls(), state)
            return
        for segment, minutes in by_minute_and_segment(seconds, block.segments).items():
            stream = block.batches[segment].stream
            state.clocks.hear(stream.id, block.format or block.envelope or "unknown", stream.node, minutes)

    def _hear(self, stream: Stream, block: Block, times: pl.Series, state: State) -> None:
        state.clocks.hear(stream.id, block.format or block.envelope or "unknown", stream.node, by_minute(times))

    def _counted(self, name: str, segments: Sequence[int] | None, rows: pl.DataFrame, owners: pl.DataFrame) -> Counts:
        """The all-rows face: count the rows of the given segments (None: all) as lines of a format."""
        if rows.is_empty():
            return []
        if segments is not None:
            rows = rows.filter(pl.col("_seg").is_in(segments))
        counters = [counter for counter in self._counters if counter.plan.format == name]
        names = sorted({column for counter in counters for column in counter.plan.columns()})
        fmt = parsers.all_formats()[name]
        face = cheap.cut(rows, fmt.cheap, fmt.pieces, names)
        counts = [compact.owned(counter.count(face), len(rows)) for counter in counters]
        return [(c.plan.name, _signed(found, owners)) for c, found in zip(counters, counts, strict=True)]

    def _counted_messages(self, rows: pl.DataFrame, formats: pl.Series) -> Counts:
        """The all-rows face of unwrapped messages."""
        of_interest = rows.with_columns(formats.alias("_format")).filter(pl.col("_format").is_in(self._counted_formats))
        counts: Counts = []
        for (name,), part in of_interest.group_by("_format", maintain_order=True):
            writers = part.select(aggregate.FROM_STREAM).unique(maintain_order=True).with_row_index("_seg")
            coded = part.drop("_seg").join(writers, on=aggregate.FROM_STREAM, how="left", nulls_equal=True)
            second = pl.col("@timestamp").dt.truncate("1s").dt.epoch("us").alias("second")
            counts.extend(
                self._counted(str(name), None, coded.select(pl.col("message").alias("record"), "_seg", second), writers)
            )
        return counts

    def _showing(self, block: Block, state: State) -> dict[str, list[int] | None]:
        """The formats that are counted in a block, and in which segments (None: all): by name, else as lines have shown."""
        if block.format is not None:
            return {block.format: None} if block.format in self._counted_formats else {}
        streams = block.streams()
        undecided = [at for at, stream in enumerate(streams) if self._is_undecided(stream.id, state)]
        if undecided and self._looks:
            self._decide(undecided, block, state)
        faces = [state.faces.get(stream.id) for stream in streams]
        return {
            name: None if set(faces) == {name} else [at for at, face in enumerate(faces) if face == name]
            for name in self._counted_formats
            if name in faces
        }

    @staticmethod
    def _is_undecided(stream: str, state: State) -> bool:
        return stream not in state.faces and state.looked[stream] < UNDECIDED

    def _decide(self, undecided: Sequence[int], block: Block, state: State) -> None:
        """Look for the formats of streams that no name tells, in the first of their lines."""
        texts = pl.DataFrame({"_seg": block.segments, "record": block.lines})
        if len(undecided) < len(block.batches):
            texts = texts.filter(pl.col("_seg").is_in(undecided))
        first = texts.lazy().group_by("_seg").head(UNDECIDED).select("_seg", cri.message(pl.col("record")).alias("text"))
        looks = first.group_by("_seg").agg(*(look.any() for look in self._looks), pl.len())
        for row in looks.collect(engine="in-memory").iter_rows(named=True):
            stream = block.batches[row["_seg"]].stream.id
            state.looked[stream] += row["len"]
            if face := next((name for name in self._counted_formats if row.get(name)), None):
                state.faces[stream] = face

    def _pass_on(self, rows: pl.DataFrame, block: Block, now: datetime) -> None:
        """Let candidates wait to be parsed."""
        owned = rows.with_columns(self._names(block).gather(rows["_seg"]).alias("_stream"))
        streams = {stream.id: stream for stream in block.streams()}
        self.candidates.add(owned.drop("_seg", "_line", strict=False), streams, block.format, now, len(block.lines))

    @staticmethod
    def _names(block: Block) -> pl.Series:
        """The stream id of each segment."""
        return pl.Series([stream.id for stream in block.streams()], dtype=pl.String)

    def _unwrap(self, name: str, frame: pl.DataFrame, block: Block, state: State, now: datetime) -> pl.DataFrame:
        """Unwrapped rows with identity and what the stream knows of their writer."""
        streams = block.streams()
        boots = list(dict.fromkeys(stream.boot_time for stream in streams))
        parts = []
        for boot in boots:
            chosen = frame
            if len(boots) > 1:
                mine = [at for at, stream in enumerate(streams) if stream.boot_time == boot]
                chosen = frame.filter(block.segments.gather(frame["_line"]).is_in(mine))
            unwrapped = parsers.all_envelopes()[name].unwrap(chosen.select("record"), Context(boot, now))
            lines = chosen["_line"].gather(unwrapped["line"])
            parts.append(self._own(unwrapped, lines, chosen["record"].gather(unwrapped["line"]), block, name, state))
        return pl.concat(parts)

    def _own(
        self, rows: pl.DataFrame, lines: pl.Series, records: pl.Series, block: Block, name: str, state: State
    ) -> pl.DataFrame:
        """Rows with their `event.id` and owner; what the envelope did not understand keeps its text and is counted."""
        unread = rows["message"].is_null()
        if missed := int(unread.sum()):
            state.counts["unparsed", name] += missed
            state.samples_of_trouble.setdefault(("unparsed", name), records.filter(unread)[0][:200])
        owned = rows.with_columns(
            pl.coalesce("message", pl.lit(records)).alias("message"),
            _numbered(rows["line"], block.identities(lines)).alias("event.id"),
            block.segments.gather(lines).alias("_seg"),
        )
        return fill_owner(owned, block.owners())


def _told(batches: Iterable[RawBatch], state: State) -> Iterator[RawBatch]:
    """Batches of container logs with the envelope that they have shown: one runtime writes all lines of such a file, so one
    line decides, and the others need not be looked at.
    """
    for batch in batches:
        stream = batch.stream
        if stream.envelope is not None or not (stream.pod and stream.container):
            yield batch
            continue
        if stream.id not in state.envelopes and _RUNTIME.search(batch.data, 0, LOOKED):
            state.envelopes[stream.id] = CRI
        envelope = state.envelopes.get(stream.id)
        yield batch if envelope is None else replace(batch, stream=replace(stream, envelope=envelope))


def _signed(counts: pl.DataFrame, owners: pl.DataFrame) -> pl.DataFrame:
    """Counts with the writer of each segment instead of its number."""
    if len(owners) > 1:
        return counts.join(owners.select("_seg", *aggregate.FROM_STREAM), on="_seg", how="left").drop("_seg")
    return counts.select(pl.exclude("_seg"), *_literals(owners.select(aggregate.FROM_STREAM).row(0)))


@functools.lru_cache(maxsize=256)
def _literals(writer: tuple[str | None, ...]) -> list[pl.Expr]:
    return [pl.lit(value, pl.String).alias(name) for name, value in zip(aggregate.FROM_STREAM, writer, strict=True)]


def _numbered(lines: pl.Series, identities: pl.Series) -> pl.Series:
    """The identity of each row; rows that came in one record (a push body) are numbered within it."""
    several = lines.is_duplicated()
    if not several.any():
        return identities
    at = pl.int_range(len(lines), eager=True) - pl.Series(lines.search_sorted(lines, side="left"))
    frame = pl.DataFrame({"i": identities, "a": at.cast(pl.String), "s": several})
    return frame.select(pl.when("s").then(pl.col("i") + "." + pl.col("a")).otherwise("i")).to_series()
