r"""Docker's json-file driver: `{"log": "text\n", "stream": "stdout", "time": "RFC 3339"}` (INTEROP 2.6).

A line longer than 16 kB is cut into records, and only the last ends with the newline.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import decoded, moments, unwrapped

_FIELDS: Final[dict[str, pl.DataType]] = {"log": pl.String(), "stream": pl.String(), "time": pl.String()}


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    log = pl.col("log")
    fields = decoded(frame["record"], _FIELDS)
    return unwrapped(
        fields.with_columns(moments(fields["time"])),
        time=pl.col("moment"),
        message=log.str.strip_suffix("\n").str.strip_suffix("\r"),
        log_iostream=pl.col("stream"),
        partial=~log.str.ends_with("\n"),
    )


ENVELOPE = Envelope(
    name="docker",
    unwrap=_unwrap,
    sniff=r'^\s*\{\s*"log"\s*:\s*".*",\s*"stream"\s*:\s*"std(?:out|err)".*"time"\s*:\s*"',
    priority=30,
)
