"""Event times of many rows as the clocks want them."""

import polars as pl

from pipeline.engine.clocks import MINUTE


def by_minute(times: pl.Series) -> dict[int, tuple[int, int]]:
    """Minute since 1970 to the oldest and the newest of the times (microseconds, no nulls) in it."""
    if times.is_empty():
        return {}
    oldest, newest = int(times.min()), int(times.max())  # type: ignore[arg-type]
    if oldest // MINUTE == newest // MINUTE:
        return {oldest // MINUTE: (oldest, newest)}
    frame = pl.DataFrame({"m": times // MINUTE, "t": times})
    grouped = frame.group_by("m").agg(pl.col("t").min().alias("oldest"), pl.col("t").max().alias("newest"))
    return {minute: (low, high) for minute, low, high in grouped.iter_rows()}
