"""Small frames cut loose from the large blocks they were taken from.

A string in Polars is a view into the buffer it was cut out of: one kept row would keep its whole block of raw lines in memory.
"""

import io

import polars as pl


def owned(frame: pl.DataFrame) -> pl.DataFrame:
    """A copy of the rows that keeps nothing else alive; costs a fraction of a millisecond for a small frame."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compat_level=pl.CompatLevel.oldest())
    buffer.seek(0)
    return pl.read_ipc(buffer)
