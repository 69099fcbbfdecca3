"""Where rows come from: a stream (one file, one container, one topic key) and the batches read from it."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl


@dataclass(frozen=True, slots=True)
class Stream:
    """One ordered sequence of records and what is known of whoever writes it.

    `id` is stable over restarts (a path below the capture, a topic and partition) and is the origin part of `event.id`.
    `envelope` and `format` are parser names; None means: decide by the first lines. `boot_time` turns the microseconds
    of kernel records into times.
    """

    id: str
    envelope: str | None = None
    format: str | None = None
    cluster: str | None = None
    node: str | None = None
    namespace: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    app: str | None = None
    container: str | None = None
    image: str | None = None
    process: str | None = None
    boot_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Whole records of one stream, as bytes separated by newlines.

    A record is a line; a kernel record keeps its continuation lines (they begin with a space). `offset` is the position
    of the first record in its stream (bytes). Where a batch is not one contiguous piece, `offsets` (UInt64, one a record)
    says where each record stood.
    """

    stream: Stream
    data: bytes
    offset: int = 0
    offsets: pl.Series | None = None
