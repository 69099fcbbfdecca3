"""Bare text: the record is the message, and nothing else is known. The fallback."""

import polars as pl

from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import unwrapped


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    return unwrapped(frame, message=pl.col("record"))


ENVELOPE = Envelope(name="plain", unwrap=_unwrap, priority=-100)
