"""CRI log files: `<RFC3339Nano> <stdout|stderr> <tags> <content>` (INTEROP 2.5; kubelet `kuberuntime/logs`).

The bulk of all lines comes this way. `second` and `message` are for the engine's all-rows pass over raw lines; `unwrap`
gives the exact time. None uses a regex with captures.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import TIME
from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import plausible, rfc3339, unwrapped

_HEADER: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) [FP](?::[^ ]*)?(?: |$)"
"""The first tag is `F` (full) or `P` (partial); others may follow behind colons and are unknown to this day."""


def _is_utc(line: pl.Expr) -> pl.Expr:
    # The first 31 characters reach past the zone, and behind `+00:00` not into the text, so a `Z ` in them is the zone.
    return line.str.head(31).str.contains("Z ", literal=True)


def _day_and_time(line: pl.Expr) -> pl.Expr:
    return line.str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False).dt.replace_time_zone("UTC")


def second(line: pl.Expr) -> pl.Expr:
    """The second of a raw CRI line as Datetime(us, UTC); null where the line has no CRI time."""
    zoned = pl.when(~_is_utc(line)).then(line.str.splitn(" ", 2).struct.field("field_0"))
    slow = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False).dt.truncate("1s")
    return plausible(pl.coalesce(pl.when(_is_utc(line)).then(_day_and_time(line)), slow).cast(TIME))


_RECORD: Final = pl.col("record")
_QUICK: Final = (plausible(_day_and_time(_RECORD)).dt.epoch("us").alias("time"), _is_utc(_RECORD).alias("utc"))
_SLOW: Final = second(_RECORD).dt.epoch("us").alias("time")
FEW: Final = 500
"""Lines of which each is parsed: looking for those that share a second costs as much."""


def seconds(lines: pl.Series, segments: pl.Series) -> pl.Series:
    """The second of every raw line (microseconds since 1970, Int64), null where it has no CRI time.

    Lines of one stream come in order, so that thousands share a second: only the first of each run of equal seconds is parsed,
    with its zone, and the others take over what it gave. `segments` tells lines of different streams apart.
    """
    if len(lines) <= FEW:
        return _seconds(lines)
    # Behind a common year and month eleven characters are left: Polars keeps up to twelve inline and compares them as numbers.
    month = lines[0][:8]
    common = month.isascii() and lines.str.starts_with(month).all()
    digits = _RECORD.str.slice(8, 11) if common else _RECORD.str.head(19)
    frame = pl.DataFrame({"record": lines, "segment": segments}).lazy().with_columns(digits.alias("digits"))
    changed = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in ("digits", "segment"))
    begins = frame.select(changed.fill_null(value=True)).collect(engine="in-memory").to_series()
    return _seconds(lines.filter(begins)).gather(begins.cum_sum() - 1)


def _seconds(lines: pl.Series) -> pl.Series:
    frame = lines.to_frame("record")
    quick = frame.select(_QUICK)
    return quick["time"] if quick["utc"].all() else frame.select(_SLOW).to_series()


def message(line: pl.Expr) -> pl.Expr:
    """The content of a raw CRI line: what follows the third blank, if any; junk where the line is of another kind."""
    return line.str.splitn(" ", 4).struct.field("field_3")


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    header = pl.when(record.str.contains(_HEADER)).then(record.str.splitn(" ", 4))
    parts = frame.select(header.struct.unnest())
    time = rfc3339(pl.col("field_0"))
    return unwrapped(
        parts.with_columns(time=time),
        time=pl.col("time"),
        # A line whose header looks right but whose time is impossible (month 13) was not written by a runtime.
        message=pl.when(pl.col("time").is_not_null()).then(pl.col("field_3").fill_null("")),
        log_iostream=pl.when(pl.col("time").is_not_null()).then(pl.col("field_1")),
        partial=pl.when(pl.col("time").is_not_null()).then(pl.col("field_2").str.starts_with("P")),
    )


ENVELOPE = Envelope(name="cri", unwrap=_unwrap, sniff=_HEADER, priority=50)
