"""What `dmesg` prints: `[seconds since boot] text`, with `-T` a date (read as UTC), with `-r` or `-x` a level in front.

Forms: dossier appendix 2. Only `-r` and `-x` show a facility; without one every line is taken for the kernel's.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
from pipeline.parsers.shippers import plausible, since_boot, unwrapped

_LEVEL: Final = r"^(?:<(?P<prio>\d{1,4})>|(?P<facility>[a-z0-9]+) *:(?P<severity>[a-z]+) *: ?)?"
_CLOCK: Final = (
    r"\[ *(?P<seconds>\d{1,10})\.(?P<micros>\d{6})\]",
    r"\[[A-Z][a-z]{2} (?P<date>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})\]",
    r"(?P<iso>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:?\d\d)",
)
_CALLER: Final = r"(?:\[ *[TC]\d+\])?"
"""With CONFIG_PRINTK_CALLER the task or CPU stands behind the time."""

_LINE: Final = rf"{_LEVEL}(?:{'|'.join(_CLOCK)}){_CALLER}(?: |$)(?P<text>(?s:.*))$"
_SNIFF: Final = (
    r"^(?:<\d{1,4}>|[a-z0-9]+ *:[a-z]+ *: ?)?"
    r"(?:\[ *\d{1,10}\.\d{6}\]|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\]|"
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-])"
)


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    parts = frame.select(pl.col("record").str.extract_groups(_LINE).struct.unnest())
    usec = pl.col("seconds").cast(pl.Int64()) * 1_000_000 + pl.col("micros").cast(pl.Int64())
    date = pl.col("date").str.to_datetime("%b %e %H:%M:%S %Y", time_unit="us", strict=False)
    prio = pl.col("prio").cast(pl.Int64())
    kernel = pl.coalesce(prio // 8 == 0, pl.col("facility") == "kern", pl.lit(True))  # noqa: FBT003
    understood = pl.col("text").is_not_null()
    return unwrapped(
        parts,
        time=pl.coalesce(
            since_boot(usec, context.boot_time),
            plausible(date.dt.replace_time_zone("UTC")),
            text.timestamp(pl.col("iso")),
        ),
        message=pl.col("text"),
        log_level=pl.coalesce(text.severity(prio & 7), text.level(pl.col("severity"))),
        format=pl.when(understood & kernel).then(pl.lit("kernel")),
        process_name=pl.when(understood).then(pl.when(kernel).then(pl.lit("kernel")).otherwise(pl.lit("user"))),
    )


ENVELOPE = Envelope(name="dmesg", unwrap=_unwrap, sniff=_SNIFF, priority=20)
