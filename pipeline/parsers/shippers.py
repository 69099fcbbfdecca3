"""What envelopes share: the row they give, times as shippers write them, and JSON decoded in bulk.

All of it works on whole columns. `decoded` is the one way from JSON text to columns; it never fails a batch for a bad line.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import TIME, UNWRAPPED

SEVERITY: Final = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")
"""Syslog severities 0 to 7 (RFC 5424 6.2.1) in our words; `notice` is an info, as kernel and journald use it."""


def unwrapped(frame: pl.DataFrame, **given: pl.Expr) -> pl.DataFrame:
    """The frame's rows with exactly the columns `UNWRAPPED`; `given` by name (`_` for `.`, `time` for `@timestamp`), others null.

    Where `line` is not given, each row is a record and is numbered.
    """
    exprs = {"line": pl.int_range(pl.len(), dtype=pl.UInt32), **given}
    return frame.select(
        exprs.get(_argument(name), pl.lit(None)).cast(dtype).alias(name) for name, dtype in UNWRAPPED.items()
    )


def _argument(column: str) -> str:
    return "time" if column == "@timestamp" else column.replace(".", "_")


def severity(number: pl.Expr) -> pl.Expr:
    """The level of a syslog priority (integer, severity in the low three bits); null stays null."""
    return (number & 7).replace_strict(dict(enumerate(SEVERITY)), default=None, return_dtype=pl.String())


def rfc3339(text: pl.Expr) -> pl.Expr:
    """An RFC 3339 time (any zone, any fraction) as Datetime(us, UTC), cut to the microsecond; null where it is none.

    Nearly all lines end in `Z` and have six digits or more of fraction: their second is one of few distinct texts, which
    Polars converts once, and their microseconds are a slice. The rest goes the slow way (HOTPATH section 2).
    """
    second = (
        pl.when(text.str.ends_with("Z"))
        .then(text.str.head(19))
        .str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    )
    fast = second.cast(pl.Int64()) + text.str.slice(20, 6).cast(pl.Int32(), strict=False)
    slow = (
        pl.when(fast.is_null()).then(text).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    )
    return pl.coalesce(fast.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), slow).cast(TIME)
