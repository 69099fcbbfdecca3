"""The files of a capture as one sequence of batches, merged by time to within the allowed lateness.

By default whole blocks pass: every file is read ahead a little, and of each as much is given as lies before the point up to which
all of them are known. `cut` gives single records instead, in batches of any size and in any order within the lateness:
the property tests and `replay --batch-rows --shuffle` feed on it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from pipeline.model import linetime
from pipeline.model.stream import RawBatch, Stream

BUDGET = 24 << 20
"""Bytes read ahead over all files."""
BLOCK = 8 << 20
"""Bytes read of a file at once at the most."""
AHEAD = 20_000_000
"""Microseconds by which a whole block may run ahead of the slowest file: within the lateness of the engine."""
JITTER = 25_000_000
"""Microseconds by which a shuffled record may be late: within the lateness of the engine."""
FOREVER = 2**62

Reader = Callable[[int], Iterator[RawBatch]]


@dataclass(slots=True)
class _Cursor:
    """A file while it is read: what is at hand, and up to which time it is known."""

    stream: Stream
    blocks: Iterator[RawBatch]
    batch: RawBatch | None = None
    following: RawBatch | None = None
    last: int = 0
    done: bool = False

    def fill(self) -> None:
        if self.batch is not None or self.done:
            return
        self.batch, self.following = self.following or next(self.blocks, None), None
        if self.batch is None:
            self.done = True
        else:
            self.last = max(self.last, linetime.last(self.batch) or self.last)

    def take(self, horizon: int) -> RawBatch | None:
        """What lies up to the horizon."""
        batch = self.batch
        if batch is None:
            return None
        if self.last <= horizon + AHEAD:
            self.batch = None
            return batch
        at = linetime.split(batch, horizon)
        if at == 0:
            return None
        self.batch = RawBatch(batch.stream, batch.data[at:], batch.offset + at)
        return RawBatch(batch.stream, batch.data[:at], batch.offset)


def merged(files: Sequence[tuple[Stream, Reader]]) -> Iterator[list[RawBatch]]:
    """Batches of all files by time. Small captures come as one; large ones in pieces of about `BUDGET` bytes."""
    block = min(BLOCK, max(256 << 10, BUDGET // max(1, len(files))))
    cursors = [_Cursor(stream, read(block)) for stream, read in files]
    while True:
        for cursor in cursors:
            cursor.fill()
        ahead = [cursor for cursor in cursors if cursor.batch is not None]
        if not ahead:
            return
        horizon = min((cursor.last for cursor in ahead if not _is_last(cursor)), default=FOREVER)
        taken = [batch for cursor in ahead if (batch := cursor.take(horizon)) is not None]
        if not taken:
            slowest = min(ahead, key=lambda cursor: cursor.last)
            taken = [batch for batch in [slowest.take(FOREVER)] if batch is not None]
        yield taken


def _is_last(cursor: _Cursor) -> bool:
    """Whether nothing follows what is at hand: then the file does not hold the others back."""
    if cursor.following is None and not cursor.done:
        cursor.following = next(cursor.blocks, None)
        cursor.done = cursor.following is None
    return cursor.following is None


@dataclass(slots=True)
class Record:
    """One record and when it is fed."""

    key: int
    stream: Stream
    offset: int
    data: bytes


@dataclass(slots=True)
class _Splitter:
    """Cuts a file into records; parts of one message stay together in order."""

    records: list[Record] = field(default_factory=list)

    def add(self, batch: RawBatch, draw: random.Random | None) -> None:
        offset, clock, jitter, open_ = batch.offset, 0, 0, False
        for line in batch.data.splitlines(keepends=True) if b"\r" not in batch.data else _lines(batch.data):
            glued = batch.stream.envelope == "kmsg" and line.startswith(b" ") and self.records
            if glued:
                self.records[-1].data += line
            else:
                at = linetime.of(line, batch.stream)
                clock = max(clock, at if at is not None and at < clock + 10**10 else clock) or (at or 0)
                if not open_:
                    jitter = draw.randrange(JITTER) if draw else 0
                open_ = batch.stream.envelope == "cri" and line.split(b" ", 3)[2:3] == [b"P"]
                self.records.append(Record(clock + jitter, batch.stream, offset, line))
            offset += len(line)


def _lines(data: bytes) -> list[bytes]:
    """Lines by newline alone: `splitlines` would also break at a carriage return."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + [rest for rest in [data.rsplit(b"\n", 1)[-1]] if rest]


def cut(files: Sequence[tuple[Stream, Reader]], *, rows: int, seed: int | None = None) -> Iterator[list[RawBatch]]:
    """Batches of `rows` records each, by time; with a seed, every record up to `JITTER` late."""
    records: list[Record] = []
    for number, (_, read) in enumerate(files):
        splitter = _Splitter()
        draw = random.Random(f"{seed}/{number}") if seed is not None else None  # noqa: S311 (a reproducible shuffle)
        for batch in read(BUDGET):
            splitter.add(batch, draw)
        records.extend(splitter.records)
    records.sort(key=lambda record: record.key)
    for begin in range(0, len(records), rows):
        yield batches_of(records[begin : begin + rows])


def batches_of(records: Sequence[Record]) -> list[RawBatch]:
    """Records as batches, one a stream, each record with its offset."""
    by_stream: dict[str, list[Record]] = {}
    for record in records:
        by_stream.setdefault(record.stream.id, []).append(record)
    return [
        RawBatch(
            found[0].stream,
            b"".join(record.data if record.data.endswith(b"\n") else record.data + b"\n" for record in found),
            offsets=pl.Series([record.offset for record in found], dtype=pl.Int64),
        )
        for found in by_stream.values()
    ]
