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


def by_minute_and_segment(times: pl.Series, segments: pl.Series) -> dict[int, dict[int, tuple[int, int]]]:
    """The same for the times (microseconds, null where unknown) of each segment, by its number."""
    frame = pl.LazyFrame({"s": segments, "t": times}).drop_nulls("t").with_columns((pl.col("t") // MINUTE).alias("m"))
    grouped = frame.group_by("s", "m", maintain_order=True).agg(
        pl.col("t").min().alias("oldest"), pl.col("t").max().alias("newest")
    )
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for segment, minute, low, high in grouped.collect(engine="in-memory").iter_rows():
        found.setdefault(segment, {})[minute] = (low, high)
    return found
