"""Raw batches to blocks of lines: batches of one envelope and format put together, cut into rows, undamaged by bad bytes."""

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.engine import routing
from pipeline.model.stream import RawBatch, Stream

OWNER = {
    "k8s.cluster.name": "cluster",
    "k8s.node.name": "node",
    "k8s.namespace.name": "namespace",
    "k8s.pod.name": "pod",
    "k8s.pod.uid": "pod_uid",
    "k8s.pod.app": "app",
    "container.name": "container",
    "container.image.name": "image",
    "process.name": "process",
}
"""Column to the attribute of a stream that fills it where the record itself does not tell."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of several streams that share envelope and format.

    `data` are the scanned bytes, `ends` the offset behind each line's newline in them, `starts` where each line stood in the
    bytes as they came, `segments` the number of the batch that each line is of, `damaged` whether bytes had to be replaced.
    """

    envelope: str | None
    format: str | None
    batches: Sequence[RawBatch]
    data: bytes
    lines: pl.Series
    ends: pl.Series
    starts: pl.Series
    segments: pl.Series
    damaged: bool

    def streams(self) -> list[Stream]:
        """The stream of each segment."""
        return [batch.stream for batch in self.batches]

    def owners(self) -> pl.DataFrame:
        """What is known of the writer of each segment: `_seg` and the columns of `OWNER`."""
        return owners(tuple(self.streams()))

    def identities(self, rows: pl.Series) -> pl.Series:
        """`event.id` of the given rows: the stream and the position in it."""
        if len(self.batches) == 1 and self.batches[0].offsets is None:
            only = self.batches[0]
            return f"{only.stream.id}:" + (self.starts.gather(rows) + only.offset).cast(pl.String)
        segments = self.segments.gather(rows)
        begins = pl.Series([0, *_bounds(self.batches)[:-1]], dtype=pl.Int64)
        inside = self.starts.gather(rows) - begins.gather(segments)
        positions = pl.Series([batch.offset for batch in self.batches], dtype=pl.Int64).gather(segments) + inside
        if any(batch.offsets is not None for batch in self.batches):
            positions = self._listed(rows, segments, positions)
        names = pl.Series([batch.stream.id for batch in self.batches], dtype=pl.String).gather(segments)
        return names + ":" + positions.cast(pl.String)

    def _listed(self, rows: pl.Series, segments: pl.Series, positions: pl.Series) -> pl.Series:
        """Positions where batches list the offset of each record."""
        frame = pl.DataFrame({"_row": rows, "_seg": segments, "_position": positions})
        first = (
            pl.DataFrame({"_seg": self.segments})
            .with_row_index("_row")
            .group_by("_seg")
            .agg(pl.col("_row").min().alias("_first"))
        )
        tables = [
            pl.DataFrame(
                {
                    "_seg": pl.repeat(at, len(b.offsets), dtype=pl.UInt32, eager=True),
                    "_listed": b.offsets.cast(pl.Int64),
                }
            ).with_row_index("_at")
            for at, b in enumerate(self.batches)
            if b.offsets is not None
        ]
        joined = frame.join(first, on="_seg", how="left", maintain_order="left").with_columns(
            (pl.col("_row") - pl.col("_first")).cast(pl.UInt32).alias("_at")
        )
        joined = joined.join(pl.concat(tables), on=["_seg", "_at"], how="left", maintain_order="left")
        return joined.select(pl.coalesce("_listed", "_position")).to_series()


def _bounds(batches: Sequence[RawBatch]) -> list[int]:
    """Where each batch ends in the joined bytes."""
    ends, total = [], 0
    for batch in batches:
        total += len(batch.data) + (not batch.data.endswith(b"\n"))
        ends.append(total)
    return ends


def build(batches: Iterable[RawBatch], names: routing.Names) -> Iterator[Block]:
    """Blocks of the batches, in a stable order, each made when it is asked for: its bytes are warm when they are read again."""
    grouped: dict[tuple[str | None, str | None], list[RawBatch]] = defaultdict(list)
    for batch in batches:
        if batch.data:
            grouped[batch.stream.envelope, names.format_of_stream(batch.stream)].append(batch)
    for (envelope, fmt), found in grouped.items():
        yield _block(envelope, fmt, found)


def _block(envelope: str | None, fmt: str | None, batches: list[RawBatch]) -> Block:
    data = (
        batches[0].data
        if len(batches) == 1
        else b"".join(batch.data if batch.data.endswith(b"\n") else batch.data + b"\n" for batch in batches)
    )
    lines, damaged = read_lines(data)
    segments = _segments(batches, len(lines))
    ends, starts = lines.to_frame().select(_ENDS, _STARTS)
    if damaged or (len(ends) and ends[-1] != len(data) + (not data.endswith(b"\n"))):
        # Replaced bytes or stripped carriage returns moved the offsets: the scanned text is the column, put together again.
        starts = pl.Series([0, *(match.end() for match in re.finditer(b"\n", data))], dtype=pl.Int64).head(len(lines))
        data = "\n".join(lines).encode() + b"\n"
    return Block(envelope, fmt, batches, data, lines, ends, starts, segments, damaged)


_ENDS = (pl.col("record").str.len_bytes().cast(pl.Int64) + 1).cum_sum().alias("end")
_STARTS = _ENDS.shift(1, fill_value=0).alias("start")


def _segments(batches: Sequence[RawBatch], lines: int) -> pl.Series:
    """The number of the batch that each line is of."""
    if len(batches) == 1:
        return pl.Series([0], dtype=pl.UInt32).new_from_index(0, lines)
    numbers = pl.Series(range(len(batches)), dtype=pl.UInt32)
    return pl.select(pl.lit(numbers).repeat_by(pl.lit(pl.Series(_line_counts(batches)))).explode()).to_series()


def _line_counts(batches: Sequence[RawBatch]) -> list[int]:
    return [batch.data.count(b"\n") + (not batch.data.endswith(b"\n")) for batch in batches]


def read_lines(data: bytes) -> tuple[pl.Series, bool]:
    """The lines of a block, and whether bytes that are not UTF-8 were replaced (U+FFFD)."""
    try:
        return pl.read_lines(data, name="record").to_series(), False
    except pl.exceptions.ComputeError:
        return pl.read_lines(data.decode("utf-8", "replace").encode(), name="record").to_series(), True


def glue(block: Block) -> Block:
    """Continuation lines of kernel records (they begin with a space) joined to their record; offsets stay with the record."""
    heads = ~block.lines.str.starts_with(" ")
    if heads.all():
        return block
    number = heads.cast(pl.UInt32).cum_sum()
    columns = {"n": number, "record": block.lines, "end": block.ends, "start": block.starts, "seg": block.segments}
    glued = (
        pl.DataFrame(columns)
        .group_by("n", maintain_order=True)
        .agg(pl.col("record").str.join("\n"), pl.col("end").last(), pl.col("start", "seg").first())
    )
    return dataclasses.replace(block, lines=glued["record"], ends=glued["end"], starts=glued["start"], segments=glued["seg"])


@functools.lru_cache(maxsize=256)
def owners(streams: tuple[Stream, ...]) -> pl.DataFrame:
    """What is known of the writers of streams, by their place: `_seg` and the columns of `OWNER`."""
    columns = {name: [getattr(stream, attribute) for stream in streams] for name, attribute in OWNER.items()}
    schema = {"_seg": pl.UInt32(), **dict.fromkeys(OWNER, pl.String())}
    return pl.DataFrame({"_seg": range(len(streams)), **columns}, schema=schema)


def fill_owner(rows: pl.DataFrame, owners: pl.DataFrame) -> pl.DataFrame:
    """What the stream knows of a row's writer, where the row itself does not tell."""
    renamed = owners.rename({column: f"_{column}" for column in OWNER})
    joined = rows.join(renamed, on="_seg", how="left", maintain_order="left")
    filled = joined.with_columns(pl.coalesce(column, f"_{column}").alias(column) for column in OWNER)
    return filled.drop(f"_{column}" for column in OWNER)
