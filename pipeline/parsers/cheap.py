"""The all-rows face of a format: columns cut out of the text of every row, without a regex with captures.

Polars' regex captures cost thousands of nanoseconds a line, slices tens: `find`, `slice`, `splitn`, `head`, `tail` only. What
costs by the row is kept to the cuts; taking off brackets and ports, testing and casting are left to the groups of rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

Pieces = Sequence[Mapping[str, pl.Expr]]
"""Columns that several cuts share, in steps: each is made of `record` and the steps before it."""


@dataclass(frozen=True, slots=True)
class Cheap:
    """A column cut out of the text of *all* rows.

    `expr` reads `record` or the format's pieces and gives a String: a slice; null or junk where the line is of another kind.
    `record` is the bare message, or the message behind a CRI header, so whatever is cut must be anchored by what is inside the
    message or by the end of the line. Rows are grouped by the slice as it is; `finish` then takes off the groups what was too
    dear to take off the rows, and a group is kept only when `valid` (regex, whole string) matches and `cast` succeeds.
    `source` is the kind of row the column belongs to. `few`: it has few distinct values, so that rows may be grouped by it.
    For a List column the slice is its last element.
    """

    source: str
    expr: pl.Expr
    valid: str
    cast: pl.DataType = field(default_factory=pl.String)
    few: bool = False
    finish: Callable[[pl.Expr], pl.Expr] = lambda slice_: slice_


def cut(frame: pl.DataFrame, face: Mapping[str, Cheap], pieces: Pieces, names: Collection[str]) -> pl.DataFrame:
    """`frame` (with `record`) and the named columns as they stand in the text; pieces that none of them reads cost nothing."""
    plan = frame.lazy()
    for step in pieces:
        plan = plan.with_columns(**step)
    cuts = [face[name].expr.alias(name) for name in names]
    return plan.with_columns(cuts).select(*frame.columns, *names).collect(engine="in-memory")


def tested(face: Mapping[str, Cheap], names: Collection[str]) -> list[pl.Expr]:
    """The cut columns finished and typed, null where they are junk."""
    return [_typed(face[name], face[name].finish(pl.col(name))).alias(name) for name in names]


def _typed(cheap: Cheap, value: pl.Expr) -> pl.Expr:
    return pl.when(value.str.contains(f"^(?:{cheap.valid})$")).then(value).cast(cheap.cast, strict=False)
