"""One block's counts over all its rows, for a plan of `aggregate.py`.

What it asks of Polars is put together once: a block of few lines costs by the query and not by the row.
"""

from collections.abc import Iterable, Iterator

import polars as pl

from pipeline import parsers
from pipeline.engine.aggregate import Plan
from pipeline.parsers import cheap
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Detection


class Counter:
    """Counts the rows of blocks for one plan.

    Rows are grouped first and tested then, so that junk and rules cost by the group and not by the row. Only where a rule asks
    for a column of many values are rows tested one by one, those alone that its other tests let through.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._format = parsers.all_formats()[plan.format]
        face = self._format.cheap
        summed = list(dict.fromkeys(column for _, column in plan.sums))
        self._names = plan.grouping()
        self._rows = [pl.len().cast(pl.Int64).alias("+")]
        self._rows += [pl.col(column).cast(pl.Float64, strict=False).sum().alias(f"+{column}") for column in summed]
        self._tested = cheap.tested(face, self._names)
        schema = {name: face[name].cast for name in self._names}
        grouped = [found for found in plan.detections if plan.is_grouped(found)]
        self._flags = [detection.to_expr(found.loose, schema).alias(f"?{found.name}") for found in grouped]
        self._sums = [pl.col("+").filter(pl.col(f"?{found.name}")).sum().alias(f"n:{found.name}") for found in grouped]
        self._sums += [
            pl.col(f"+{column}").filter(pl.col(f"?{name}")).sum().alias(f"s:{name}:{column}") for name, column in plan.sums
        ]
        self._single = [_Single(plan, found) for found in plan.detections if found not in grouped]
        self._hopes = [single.hope() for single in self._single]
        self._numbers = [f"n:{found.name}" for found in plan.detections] + [f"s:{name}:{column}" for name, column in plan.sums]
        self._key = ("_seg", "second", *plan.keys)

    def count(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` has `record`, `_seg`, `second` (microseconds) and the plan's columns as they stand in the text.

        Gives `_seg`, `second`, the plan's keys, and how many rows each detection has there (`n:`), and sums (`s:`).
        """
        groups = frame.lazy().group_by("_seg", "second", *self._names).agg(self._rows)
        raw = [pl.col(name).alias(f"raw {name}") for name in self._names] if self._single else []
        flagged = groups.with_columns(raw).with_columns(self._tested).with_columns(*self._flags, *self._hopes)
        if not self._single:
            return self._kept(self._summed(flagged)).collect(engine="in-memory")
        known = flagged.collect(engine="in-memory")
        hopeful = [single for single in self._single if known[single.hope_name].any()]
        frames = {None: frame} | {name: _large(frame, name) for name in {single.large for single in hopeful} if name}
        parts = [found for single in hopeful if (found := single.count(frames[single.large], known)) is not None]
        if not parts:
            return self._kept(self._summed(known.lazy())).collect(engine="in-memory")
        all_parts = [self._summed(known.lazy()), *(part.lazy() for part in parts)]
        numbers = [pl.col(name).sum() for name in self._numbers]
        merged = pl.concat(all_parts, how="diagonal").group_by(self._key).agg(numbers)
        return self._kept(merged).collect(engine="in-memory")

    def _summed(self, groups: pl.LazyFrame) -> pl.LazyFrame:
        none = [pl.lit(0, pl.Int64).alias(f"n:{single.name}") for single in self._single]
        return groups.group_by(self._key).agg(self._sums).with_columns(none)

    def _kept(self, counts: pl.LazyFrame) -> pl.LazyFrame:
        some = pl.any_horizontal(pl.col(f"n:{found.name}") > 0 for found in self.plan.detections)
        return counts.filter(some & pl.col("second").is_not_null()).select(*self._key, *self._numbers)


class _Single:
    """Counts a detection that asks for columns of many values, row by row.

    What can be told of a row without a regex is asked first: whether a number, as it stands in the text, would pass, and whether
    its columns of few values passed as a group. The rest is asked of the rows that are left, which mostly are none.
    """

    def __init__(self, plan: Plan, found: Detection) -> None:
        self.name = found.name
        self._keys = ("_seg", "second", *plan.keys)
        self._format = parsers.all_formats()[plan.format]
        self._face = face = self._format.cheap
        self._columns = sorted(detection.fields(found.loose) | set(plan.keys))
        self._test = detection.to_expr(found.loose, {name: face[name].cast for name in self._columns})
        self._groups: list[tuple[str, pl.Expr]] = []
        self._numbers: list[tuple[str, pl.Expr]] = []
        self.hope_name = f"hope {found.name}"
        self.large: str | None = None
        """A column of which only numbers of one or more can pass."""
        grouping, cut = plan.grouping(), plan.columns()
        for part in _flat([found.loose]):
            asked = detection.fields(part)
            if len(asked) == 1 and (name := next(iter(asked))) in cut:
                tests = self._groups if name in grouping else self._numbers
                tests.append((name, detection.to_expr(part, {name: face[name].cast})))
                if name not in grouping and isinstance(part, detection.Test) and _is_large(part):
                    self.large = name

    def hope(self) -> pl.Expr:
        """Whether rows of a group may match, as far as its columns of few values tell."""
        return pl.all_horizontal(pl.lit(value=True), *(test for _, test in self._groups)).alias(self.hope_name)

    def count(self, frame: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame | None:
        """`groups` are the groups of `frame` with `hope`, and their columns as they stand in the text as `raw `; None: no row."""
        some = frame
        for name, test in self._numbers:
            if some.is_empty():
                return None
            number = some[name].cast(self._face[name].cast, strict=False).to_frame()
            some = some.filter(number.select(test).to_series().fill_null(value=False))
        hopeful = groups.filter(self.hope_name)
        for name, _ in self._groups:
            some = some.filter(pl.col(name).is_in(hopeful[f"raw {name}"].unique().implode()))
        if some.is_empty():
            return None
        rows = cheap.cut(some.select("_seg", "second", "record"), self._face, self._format.pieces, self._columns)
        kept = rows.lazy().with_columns(cheap.tested(self._face, self._columns)).filter(self._test)
        count = pl.len().cast(pl.Int64).alias(f"n:{self.name}")
        return kept.group_by(self._keys).agg(count).collect(engine="in-memory")


def _is_large(test: detection.Test) -> bool:
    return test.kind in ("gt", "gte") and isinstance(test.value, int | float) and test.value >= 1


def _large(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The rows whose number may be one or more: told from the text, as few are, before any is parsed."""
    return frame.filter(~pl.col(name).str.starts_with("0."))


def _flat(parts: Iterable[detection.Tree]) -> Iterator[detection.Tree]:
    """The conjuncts of nested conjunctions."""
    for part in parts:
        if isinstance(part, detection.All) or (isinstance(part, detection.Some) and len(part.children) == 1):
            yield from _flat(part.children)
        else:
            yield part
