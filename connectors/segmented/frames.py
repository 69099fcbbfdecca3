"""One batch as bytes: a header with a checksum, the stream, the offsets, the rows. Pure.

    magic 4 | crc32 4 | body 4 | stream 4 | offsets 4 | offset 8 | appended at 8 | flags 1 | stream as JSON | offsets | rows

The stream stands in every frame: then a reader may begin at any of them, and in compressed segments repeats cost nothing.
"""

import json
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache

import polars as pl

from pipeline.model.stream import RawBatch, Stream

MAGIC = b"HWf1"
MORE = 1
"""Further batches of the same append follow: a tail that ends in such a frame is half an append."""
_OFFSETS = 2
_SIGNED = 4
_HEAD = struct.Struct("<4sI")
_REST = struct.Struct("<IIIqdB")
HEADER = _HEAD.size + _REST.size


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame in a buffer: its batch, where it ends, when it was appended, and whether its append goes on behind it."""

    batch: RawBatch
    end: int
    at: float
    more: bool


def encode(batches: Sequence[RawBatch], now: float) -> bytes:
    """The frames of one append."""
    parts: list[bytes] = []
    for number, batch in enumerate(batches, 1):
        flags = MORE if number < len(batches) else 0
        stream, offsets = _stream_bytes(batch.stream), b""
        if batch.offsets is not None:
            signed = batch.offsets.dtype == pl.Int64
            flags |= _OFFSETS | (_SIGNED if signed else 0)
            offsets = array("q" if signed else "Q", batch.offsets.to_list()).tobytes()
        size = len(stream) + len(offsets) + len(batch.data)
        rest = _REST.pack(size, len(stream), len(offsets), batch.offset, now, flags) + stream + offsets
        parts += (_HEAD.pack(MAGIC, zlib.crc32(batch.data, zlib.crc32(rest))), rest, batch.data)
    return b"".join(parts)


def needed(buffer: bytes, at: int) -> int:
    """Bytes from `at` that the frame there takes, as its header says; 0 where there is no header."""
    if len(buffer) - at < HEADER or buffer[at : at + 4] != MAGIC:
        return 0
    return HEADER + int(_REST.unpack_from(buffer, at + _HEAD.size)[0])


def decode(buffer: bytes, at: int) -> Frame | None:
    """The frame at `at`; None where there is none that is whole and sound."""
    size = needed(buffer, at)
    if not size or at + size > len(buffer):
        return None
    begin, end = at + HEADER, at + size
    _, crc = _HEAD.unpack_from(buffer, at)
    if zlib.crc32(memoryview(buffer)[at + _HEAD.size : end]) != crc:
        return None
    _, stream, offsets, offset, appended, flags = _REST.unpack_from(buffer, at + _HEAD.size)
    rows = begin + stream + offsets
    batch = RawBatch(
        _stream(buffer[begin : begin + stream]),
        buffer[rows:end],
        offset,
        _series(buffer[begin + stream : rows], signed=bool(flags & _SIGNED)) if flags & _OFFSETS else None,
    )
    return Frame(batch, end, appended, bool(flags & MORE))


def following(buffer: bytes, at: int) -> int | None:
    """Where the next sound frame behind a damaged one begins."""
    found = buffer.find(MAGIC, at)
    while found >= 0 and decode(buffer, found) is None:
        found = buffer.find(MAGIC, found + 1)
    return None if found < 0 else found


def _series(raw: bytes, *, signed: bool) -> pl.Series:
    values = array("q" if signed else "Q")
    values.frombytes(raw)
    return pl.Series(values.tolist(), dtype=pl.Int64 if signed else pl.UInt64)


@lru_cache(maxsize=16_384)
def _stream_bytes(stream: Stream) -> bytes:
    fields = {name: value for name, value in asdict(stream).items() if value is not None}
    if stream.boot_time is not None:
        fields["boot_time"] = stream.boot_time.isoformat()
    return json.dumps(fields, separators=(",", ":")).encode()


@lru_cache(maxsize=16_384)
def _stream(raw: bytes) -> Stream:
    fields = json.loads(raw)
    if "boot_time" in fields:
        fields["boot_time"] = datetime.fromisoformat(fields["boot_time"])
    return Stream(**fields)
