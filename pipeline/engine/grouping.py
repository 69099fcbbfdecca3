"""Rows put into the groups of a correlation: `g0`, `g1`, ... are the values of its group-by keys, as strings, never null."""

import functools
from collections.abc import Sequence

import polars as pl

from pipeline.model import columns

SIDE_COLUMNS = tuple(f"{side}.{key}" for side in columns.SIDES for key in columns.ENTITY)
EVIDENCE = ("t", "w", "id", "detection", "source", "message", "container.name", *columns.ENTITY, *SIDE_COLUMNS)
"""What is kept of a row that is evidence."""


def value(frame: pl.DataFrame, fields: Sequence[str]) -> pl.Expr:
    """The measured column; several are taken together, a list as its last element."""
    named = [
        (pl.col(name).list.last() if isinstance(frame.schema[name], pl.List) else pl.col(name))
        for name in fields
        if name in frame.columns
    ]
    if not named:
        return pl.lit(None).alias("value")
    if len(named) == 1:
        return named[0].alias("value")
    return pl.concat_str([part.cast(pl.String) for part in named], separator="\x1f").alias("value")


def grouped(frame: pl.DataFrame, keys: Sequence[str], show: Sequence[str]) -> pl.DataFrame:
    """The rows with their group in `g0`, `g1`, ...; a list-valued key puts a row into each of its groups; no null group."""
    if frame.is_empty():
        return empty(len(keys))  # a query costs the same for no rows, and most detections of a rule have none
    schema = frame.schema
    kept = [name for name in dict.fromkeys((*EVIDENCE, *show)) if name in schema]
    names = [f"g{at}" for at in range(len(keys))]
    values = [
        (pl.col(key) if key in schema else pl.lit(None, pl.String)).alias(name) for name, key in zip(names, keys, strict=True)
    ]
    lists = [name for name, key in zip(names, keys, strict=True) if isinstance(schema.get(key), pl.List)]
    grouped = frame.lazy().select(*values, *kept)
    if lists:
        longest = pl.max_horizontal(pl.col(name).list.len() for name in lists)
        same = [pl.when(pl.col(name).list.len() == longest).then(pl.col(name)).alias(name) for name in lists]
        grouped = (
            grouped.with_columns(same).drop_nulls(lists).explode(lists).unique([*lists, "id"], keep="first", maintain_order=True)
        )
    if names:
        grouped = grouped.with_columns(pl.col(names).cast(pl.String)).drop_nulls(names)
    return grouped.collect()


def numbers(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """`g*`, t, n of a frame with t and n."""
    if frame.is_empty():
        return pl.DataFrame(
            schema={**{f"g{at}": pl.String() for at in range(len(keys))}, "t": pl.Int64(), "n": frame.schema["n"]}
        )
    if any(isinstance(frame.schema.get(key), pl.List) for key in keys):
        slim = frame.select(*dict.fromkeys(key for key in keys if key in frame.columns), "t", "n")
        numbered = slim.with_columns(pl.int_range(pl.len()).alias("id"))
        return grouped(numbered, keys, ("n",)).select(pl.selectors.matches(r"^g\d+$"), "t", "n")
    named = [
        (pl.col(key) if key in frame.columns else pl.lit(None)).cast(pl.String).alias(f"g{at}") for at, key in enumerate(keys)
    ]
    found = frame.select(*named, "t", "n")
    return found.drop_nulls([f"g{at}" for at in range(len(keys))]) if keys else found


@functools.cache
def empty(keys: int) -> pl.DataFrame:
    """No rows, with so many group keys."""
    strings = dict.fromkeys(("id", "detection", "source", "message"), pl.String())
    return pl.DataFrame(schema={**{f"g{at}": pl.String() for at in range(keys)}, "t": pl.Int64, "w": pl.Int64, **strings})


@functools.cache
def no_times(keys: int) -> pl.DataFrame:
    """Nothing that a window could slide over, with so many group keys."""
    return empty(keys).select(
        pl.selectors.matches(r"^g\d+$"), "t", "w", "id", pl.lit(None).alias("value"), pl.col("t").alias("start")
    )
