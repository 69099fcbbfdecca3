"""Kernel records as read from /dev/kmsg: `prio,seq,usec,flags[,...];text`, then ` KEY=value` lines behind newlines.

Layout: Linux `Documentation/ABI/testing/dev-kmsg` (INTEROP 2.9). `prio` has the severity in its low three bits and the
facility above; only facility 0 is the kernel: any privileged pod can write records of another facility into the device.
"""

import string
from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
from pipeline.parsers.shippers import since_boot, unwrapped

_RECORD: Final = r"^\d{1,9},\d{1,20},\d{1,18},[^;\n]*;"
_HEX: Final = frozenset(string.hexdigits)


def _undone(escaped: str) -> str:
    r"""`\x..` as bytes again: the kernel escapes each byte beyond printable ASCII, so UTF-8 is put together anew."""
    first, *rest = escaped.split("\\x")
    raw = bytearray(first.encode())
    for piece in rest:
        hexadecimal = len(piece) > 1 and _HEX.issuperset(piece[:2])
        raw += bytes.fromhex(piece[:2]) + piece[2:].encode() if hexadecimal else b"\\x" + piece.encode()
    return raw.decode(errors="replace")


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    whole = pl.when(record.str.contains(_RECORD)).then(record.str.splitn(";", 2))
    rows = frame.select("record", whole.struct.unnest()).with_columns(
        pl.col("field_0").str.splitn(",", 4).struct.rename_fields(["prio", "seq", "usec", "flags"]).struct.unnest(),
        pl.col("field_1").str.splitn("\n", 2).struct.field("field_0").alias("text"),
    )
    escaped = pl.when(pl.col("text").str.contains("\\x", literal=True)).then(pl.col("text"))
    # Few records have escapes and Polars cannot join bytes to UTF-8; nulls are skipped, so Python sees only those few.
    plain = pl.coalesce(escaped.map_elements(_undone, return_dtype=pl.String()), pl.col("text"))
    stray = pl.when(pl.col("record").str.starts_with(" ")).then(pl.col("record").str.slice(1))
    prio = pl.col("prio").cast(pl.Int64(), strict=False)
    kernel = prio // 8 == 0
    return unwrapped(
        rows,
        time=since_boot(pl.col("usec").cast(pl.Int64(), strict=False), context.boot_time),
        message=pl.coalesce(plain, stray),
        log_level=text.severity(prio & 7),
        format=pl.when(kernel).then(pl.lit("kernel")),
        process_name=pl.when(kernel).then(pl.lit("kernel")).when(~kernel).then(pl.lit("user")),
    )


ENVELOPE = Envelope(name="kmsg", unwrap=_unwrap, sniff=_RECORD, priority=50)
