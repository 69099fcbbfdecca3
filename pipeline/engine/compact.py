"""Small frames cut loose from the large blocks they were taken from.

A string in Polars is a view into the buffer it was cut out of: one kept row would keep its whole block of raw lines in memory.
"""

import io

import polars as pl

SMALL = 1000
"""Rows of a source so small that keeping all of it costs less than a copy."""
FEW = 300
"""Rows of which Python copies the texts faster than Polars writes and reads a file in memory."""


def owned(frame: pl.DataFrame, source: int) -> pl.DataFrame:
    """A copy of rows that keeps nothing else alive, where they were taken out of `source` rows and those are many."""
    if source <= SMALL:
        return frame
    if len(frame) <= FEW and not any(dtype.is_nested() for dtype in frame.dtypes):
        return pl.DataFrame([_copied(column) for column in frame])
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compat_level=pl.CompatLevel.oldest())
    buffer.seek(0)
    return pl.read_ipc(buffer)


def _copied(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, column.to_list(), dtype=pl.String) if column.dtype == pl.String else column
