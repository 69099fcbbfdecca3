"""Rows that some rule may want, on their way from unwrapped text to event columns.

They wait until they are many, or many lines were read, since parsing, matching and joining cost by the call and not by the row.
"""

from collections import Counter
from datetime import datetime

import polars as pl

from pipeline import parsers
from pipeline.engine import routing
from pipeline.engine.blocks import Block, fill_owner, owners
from pipeline.engine.compact import owned
from pipeline.engine.state import State
from pipeline.engine.times import by_minute
from pipeline.model import columns
from pipeline.model.stream import Stream
from pipeline.parsers import Context
from pipeline.parsers.envelopes import cri

EVENTS = "k8s.events"
GATHER = 20_000
"""Candidates that wait for a pass over them at the most; a block may bring more."""
LINES = 2_000_000
"""Lines read between two passes at the most, however few candidates are among them."""
NAMES = ("container.name", "container.image.name", "k8s.pod.app", "process.name", "k8s.pod.name")
"""The columns by which a format is known without looking at the text, in the order of `routing.NAMES`."""


class Candidates:
    """Unwrapped rows with identity and owner, and the detections that may match them."""

    def __init__(self, names: routing.Names) -> None:
        self._names = names
        self.active: set[str] = set()
        self.seen: Counter[str] = Counter()
        """Lines in which a text of a detection was found, by its name."""
        self.lines = 0
        self._waiting: list[pl.DataFrame] = []
        self._raw: list[pl.DataFrame] = []
        self._streams: dict[str, Stream] = {}

    def add(self, rows: pl.DataFrame, streams: dict[str, Stream], hint: str | None, now: datetime, source: int) -> None:
        """Let rows wait: the columns `UNWRAPPED` and `event.id`, and `_stream`, the id of each row's stream.

        `hint` is the format that the stream's name gave; `now` is the time of rows that have none (`observed`); `source` is how
        many rows they were taken out of.
        """
        if rows.is_empty():
            return
        self._streams.update(streams)
        named = rows.with_columns(hints(rows, hint, self._names), pl.lit(now, columns.TIME).alias("observed"))
        self._waiting.append(owned(named.drop("line", "partial", "format"), source))

    def add_raw(self, block: Block, lines: pl.Series, now: datetime) -> None:
        """Let raw CRI lines of a block wait, by number: they lose their header when they are taken."""
        segments = block.segments.gather(lines)
        streams = block.streams()
        self._streams.update({stream.id: stream for stream in streams})
        names = pl.Series([stream.id for stream in streams], dtype=pl.String)
        raw = pl.DataFrame(
            {"record": block.lines.gather(lines), "event.id": block.identities(lines), "_stream": names.gather(segments)}
        )
        formats = pl.lit(block.format, pl.String).alias("_hint")
        self._raw.append(owned(raw.with_columns(formats, pl.lit(now, columns.TIME).alias("observed")), len(block.lines)))

    def due(self) -> bool:
        """Whether a pass is worth while: enough rows wait, or enough lines were read since the last one."""
        return self.lines >= LINES or sum(map(len, (*self._waiting, *self._raw))) >= GATHER

    def waiting(self) -> bool:
        """Whether any rows wait."""
        return bool(self._waiting or self._raw)

    def take(self, state: State, now: datetime) -> list[pl.DataFrame]:
        """The waiting rows, parsed. `now` stands for the year where times are written without one."""
        rows = [*self._waiting, *self._unwrapped()]
        self._waiting, self._raw, self.lines = [], [], 0
        if not rows:
            return []
        found: list[pl.DataFrame] = []
        for (name,), part in pl.concat(rows, how="diagonal").group_by("_format", maintain_order=True):
            parsed = self._as(str(name), part, state, now) if name is not None else None
            rest = part
            if parsed is not None:
                found.append(parsed.filter(pl.col("source").is_not_null()))
                rest = part.filter(parsed["source"].is_null())
            if not rest.is_empty():
                found.extend(self._by_look(rest, None if name is None else str(name), state, now))
        self._streams.clear()
        return found

    def _unwrapped(self) -> list[pl.DataFrame]:
        """The raw lines without their header, with what is known of their writers."""
        if not self._raw:
            return []
        raw = pl.concat(self._raw)
        rows = cri.ENVELOPE.unwrap(raw.select("record"), Context()).with_columns(raw["event.id"], raw["_stream"], raw["observed"])
        rows = rows.with_columns(pl.coalesce("message", raw["record"]).alias("message"))
        names = raw["_stream"].unique(maintain_order=True)
        writers = owners(tuple(self._streams[name] for name in names.to_list()))
        codes = names.to_frame("_stream").with_row_index("_seg")
        filled = fill_owner(rows.join(codes, on="_stream", how="left", maintain_order="left"), writers).with_columns(raw["_hint"])
        parts = []
        for (hint,), part in filled.group_by("_hint", maintain_order=True):
            named = part.with_columns(hints(part, None if hint is None else str(hint), self._names))
            parts.append(named.drop("line", "partial", "format", "_seg", "_hint"))
        return parts

    def _by_look(self, rest: pl.DataFrame, name: str | None, state: State, now: datetime) -> list[pl.DataFrame]:
        """Rows that no name (or the wrong one) led to a format: each by what it looks like."""
        found: list[pl.DataFrame] = []
        looked = rest.with_columns(routing.format_expr(pl.col("message")).alias("_format"))
        for (other,), part in looked.group_by("_format", maintain_order=True):
            parsed = self._as(str(other), part, state, now) if other is not None and other != name else None
            unread = part if parsed is None else part.filter(parsed["source"].is_null())
            if parsed is not None:
                found.append(parsed.filter(pl.col("source").is_not_null()))
            if not unread.is_empty():
                _note(unread, name, state)
                found.append(_events(unread.with_columns(pl.lit(routing.TEXT).alias("source")), None))
        return found

    def _as(self, name: str, part: pl.DataFrame, state: State, now: datetime) -> pl.DataFrame | None:
        """Rows read by a format; times that stand only in the text move the clocks as well."""
        fmt = parsers.all_formats().get(name)
        if fmt is None:
            return None
        rows = _events(part, fmt.parse(part, Context(None, now)))
        state.counts["rows", name] += len(rows) - rows["source"].null_count()
        dated = pl.DataFrame({"s": part["_stream"], "before": part["@timestamp"], "after": rows["@timestamp"]})
        late = dated.filter(pl.col("before").is_null() & pl.col("after").is_not_null())
        for (identity,), group in late.group_by("s", maintain_order=True):
            stream = self._streams[str(identity)]
            state.clocks.hear(stream.id, name, stream.node, by_minute(group["after"].dt.epoch("us")))
        return rows


def _note(unread: pl.DataFrame, name: str | None, state: State) -> None:
    """Count rows that stay plain text: ordinary in a container's log, trouble in a stream that holds only one kind of record."""
    if name != EVENTS:
        state.counts["plain", name or "text"] += len(unread)
        return
    state.counts["unparsed", EVENTS] += len(unread)
    state.samples_of_trouble.setdefault(("unparsed", EVENTS), unread["message"][0][:200])


def hints(rows: pl.DataFrame, hint: str | None, names: routing.Names) -> pl.Expr:
    """The format of each row as far as names tell: the envelope's word, the stream's, then the usual names."""
    if hint is not None:
        return pl.coalesce("format", pl.lit(hint)).alias("_format")
    distinct = rows.select(NAMES).unique()
    formats = [names.format_of(*row) for row in distinct.iter_rows()]
    named = distinct.with_columns(pl.Series("_named", formats, dtype=pl.String))
    joined = rows.join(named, on=NAMES, how="left", nulls_equal=True, maintain_order="left")
    return pl.coalesce("format", pl.lit(joined["_named"])).alias("_format")


def _events(part: pl.DataFrame, parsed: pl.DataFrame | None) -> pl.DataFrame:
    """Unwrapped rows and what their format read in them, as event rows."""
    base = part.drop("_format", "_stream")
    if parsed is None:
        return base
    clash = [name for name in parsed.columns if name in base.columns and name != "source"]
    merged = base.hstack(parsed.rename({name: f"_{name}" for name in clash}))
    filled = merged.with_columns(pl.coalesce(f"_{name}", name).alias(name) for name in clash)
    return filled.drop(f"_{name}" for name in clash).with_columns(pl.coalesce("@timestamp", "event.time").alias("@timestamp"))
