"""What Headwater says of itself: its own failures are rows like any other, and rules decide what they come to.

    headwater/sink_down at=2026-11-23T04:39:01.041577Z subject=chat no delivery for 312 s: connection refused

`runtime/selfcheck.py` writes these. A subject has no spaces.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Format, text

_LINE: Final = r"^headwater/(?P<check>[a-z_]+) at=(?P<time>\S+) subject=(?P<subject>\S+) (?P<body>.*)$"


def parse(lines: pl.DataFrame, context: Context) -> pl.DataFrame:
    """One row a line; null where it is none of ours (the log of the service is another thing)."""
    found = lines.select(pl.col("message").str.extract_groups(_LINE).alias("f")).unnest("f")
    return found.select(
        pl.when(pl.col("check").is_not_null()).then(pl.lit("headwater")).alias("source"),
        pl.lit(None, pl.String).alias("log.level"),
        text.instant(pl.col("time")).alias("event.time"),
        pl.col("check").alias("headwater.check"),
        pl.col("subject").alias("headwater.subject"),
        pl.col("body").alias("log.body"),
    )


FORMAT: Final = Format(
    name="headwater",
    columns={"headwater.check": pl.String(), "headwater.subject": pl.String(), "log.body": pl.String()},
    sources=("headwater",),
    parse=parse,
    verbatim=frozenset({"headwater.check", "headwater.subject"}),
)
