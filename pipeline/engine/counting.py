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
        self._numbers = [f"n:{found.name}" for found in plan.detections] + [f"s:{name}:{column}" for name, column in plan.sums]
        self._key = ("_seg", "second", *plan.keys)

    def count(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` has `record`, `_seg`, `second` (microseconds) and the plan's columns as they stand in the text.

        Gives `_seg`, `second`, the plan's keys, and how many rows each detection has there (`n:`), and sums (`s:`).
        """
        grouped = frame.lazy().group_by("_seg", "second", *self._names).agg(self._rows)
        if not self._single:
            return self._kept(self._added(grouped)).collect(engine="in-memory")
        raw = grouped.collect(engine="in-memory")
        parts = [self._added(raw.lazy())] if self._flags else []
        parts += [single.count(frame, raw).lazy() for single in self._single]
        numbers = [pl.col(name).sum() for name in self._numbers]
        merged = pl.concat(parts, how="diagonal").group_by(self._key).agg(numbers)
        return self._kept(merged).collect(engine="in-memory")

    def _added(self, groups: pl.LazyFrame) -> pl.LazyFrame:
        return groups.with_columns(self._tested).with_columns(self._flags).group_by(self._key).agg(self._sums)

    def _kept(self, counts: pl.LazyFrame) -> pl.LazyFrame:
        some = pl.any_horizontal(pl.col(f"n:{found.name}") > 0 for found in self.plan.detections)
        return counts.filter(some & pl.col("second").is_not_null()).select(*self._key, *self._numbers)


class _Single:
    """Counts a detection that asks for columns of many values, row by row.

    What can be told of a row without a regex is asked first: whether its columns of few values passed as a group, and whether
    a number, as it stands in the text, would pass. The rest is asked of the rows that are left.
    """

    def __init__(self, plan: Plan, found: Detection) -> None:
        self._name = found.name
        self._keys = ("_seg", "second", *plan.keys)
        self._format = parsers.all_formats()[plan.format]
        face = self._format.cheap
        self._columns = sorted(detection.fields(found.loose) | set(plan.keys))
        self._test = detection.to_expr(found.loose, {name: face[name].cast for name in self._columns})
        self._groups: list[tuple[str, pl.Expr]] = []
        self._numbers: list[tuple[str, pl.Expr]] = []
        grouping, cut = plan.grouping(), plan.columns()
        for part in _flat([found.loose]):
            asked = detection.fields(part)
            if len(asked) == 1 and (name := next(iter(asked))) in cut:
                tests = self._groups if name in grouping else self._numbers
                tests.append((name, detection.to_expr(part, {name: face[name].cast})))

    def count(self, frame: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
        """`raw` are the groups of `frame` by the columns of few values."""
        face = self._format.cheap
        some = frame
        for name, test in self._numbers:
            number = some[name].cast(face[name].cast, strict=False).to_frame()
            some = some.filter(number.select(test).to_series().fill_null(value=False))
        for name, test in self._groups:
            values = raw.select(pl.col(name).unique())
            passing = values.to_series().filter(values.select(cheap.tested(face, [name])).select(test).to_series())
            some = some.filter(pl.col(name).is_in(passing.implode()))
        rows = cheap.cut(some.select("_seg", "second", "record"), face, self._format.pieces, self._columns)
        kept = rows.lazy().with_columns(cheap.tested(face, self._columns)).filter(self._test)
        count = pl.len().cast(pl.Int64).alias(f"n:{self._name}")
        return kept.group_by(self._keys).agg(count).collect(engine="in-memory")


def _flat(parts: Iterable[detection.Tree]) -> Iterator[detection.Tree]:
    """The conjuncts of nested conjunctions."""
    for part in parts:
        if isinstance(part, detection.All) or (isinstance(part, detection.Some) and len(part.children) == 1):
            yield from _flat(part.children)
        else:
            yield part
