"""Counts over *all* rows, for the rules that need them: ratio, absence and baseline.

Per block one `group_by` over the second and the few raw columns that the rules' keys come from; each detection is a flag that is
summed. Addresses stay addresses here: who owned them is asked when the counts are read, so late topology changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline import parsers
from pipeline.model import columns
from pipeline.signatures import detection
from pipeline.signatures.models import Baseline
from pipeline.signatures.ruleset import Detection, Rule, RuleSet

STREAM_COLUMNS = (
    "k8s.cluster.name", "k8s.node.name", "k8s.namespace.name", "k8s.pod.name", "k8s.workload.name", "container.name",
    "process.name",
)  # fmt: skip
FROM_STREAM = tuple(name for name in STREAM_COLUMNS if name != "k8s.workload.name")
COUNTED = ("ratio", "absence", "baseline")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is counted of the rows of `source` by raw `keys`: how often each of `detections`, and `sums` (detection, column)."""

    name: str
    format: str
    source: str
    keys: tuple[str, ...]
    detections: tuple[Detection, ...]
    sums: tuple[tuple[str, str], ...]

    def face(self) -> Mapping[str, parsers.Cheap]:
        """The cheap columns of its format."""
        return parsers.all_formats()[self.format].cheap

    def is_grouped(self, found: Detection) -> bool:
        """Whether a detection is decided on groups of rows: all it asks are keys, or columns of few values."""
        face = self.face()
        return all(name in self.keys or face[name].few for name in detection.fields(found.loose))

    def columns(self) -> tuple[str, ...]:
        """The cheap columns that must be cut out of every row."""
        face = self.face()
        named = {name for found in self.detections for name in detection.fields(found.loose)}
        few = {name for name in named if name in self.keys or face[name].few}
        return tuple(sorted({*self.keys, *few, *(column for _, column in self.sums)}))


def raw_key(column: str) -> tuple[str, ...]:
    """The raw columns that a key column is derived from; none where the stream itself tells."""
    if column in STREAM_COLUMNS or column == "cloud.availability_zone":
        return ()
    if column == "k8s.service.name":
        return ("upstream.name",)
    if column in columns.TOPOLOGY:
        side = column.split(".", maxsplit=1)[0]
        if column in ("upstream.k8s.service.name", "upstream.k8s.namespace.name"):
            return ("upstream.address", "upstream.name")
        return (f"{side}.address",)
    return (column,)


def plans(ruleset: RuleSet) -> list[Plan]:
    """The plans of a rule set, one for every row kind and set of raw keys."""
    wanted: _Wanted = {}
    for rule in ruleset.rules.values():
        if rule.correlation.type not in COUNTED:
            continue
        for name in rule.rules:
            found = ruleset.detections.get(name)
            if found is None or not counted(found):
                continue
            keys = raw_keys(rule, found)
            for source in sorted(found.selector.sources or ()):
                detections, sums = wanted.setdefault((source, keys), ({}, set()))
                detections[name] = found
                sums.update((name, column) for column in summed(rule))
    by_source = {kind: fmt.name for fmt in parsers.all_formats().values() for kind in fmt.sources}
    return [
        Plan(f"{source}/{','.join(keys)}", by_source[source], source, keys, tuple(found.values()), tuple(sorted(sums)))
        for (source, keys), (found, sums) in sorted(_absorbed(wanted).items())
    ]


_Wanted = dict[tuple[str, tuple[str, ...]], tuple[dict[str, Detection], set[tuple[str, str]]]]


def _absorbed(wanted: _Wanted) -> _Wanted:
    """Plans whose keys are among those of another of the same rows are counted with it: one `group_by` instead of two."""
    result: _Wanted = {}
    for (source, keys), (detections, sums) in sorted(wanted.items(), key=lambda item: -len(item[0][1])):
        wider = [key for key in result if key[0] == source and set(keys) <= set(key[1])]
        target = result.setdefault(wider[0] if wider else (source, keys), ({}, set()))
        target[0].update(detections)
        target[1].update(sums)
    return result


def raw_keys(rule: Rule, found: Detection) -> tuple[str, ...]:
    """The raw columns by which the rows of a detection are counted: those of the rule's keys and of its own topology tests."""
    named = [*key_columns(rule, found.name), *(column for column in found.columns if column in columns.TOPOLOGY)]
    keys = {raw for column in named for raw in raw_key(column)}
    if any(column.startswith("upstream.k8s.pod") for column in named):
        keys.discard("upstream.name")  # a row without an address has no pod, and an address tells its service
    return tuple(sorted(keys))


def counted(found: Detection) -> bool:
    """Whether a detection is counted over all rows; others are counted by their matched rows."""
    return found.cheap and found.literals is None and detection.separable(found.tree, frozenset(columns.TOPOLOGY))


def residual(found: Detection) -> detection.Tree:
    """What is left to test on counts once their addresses have owners."""
    return detection.loosen(found.tree, found.columns - frozenset(columns.TOPOLOGY))


def key_columns(rule: Rule, name: str) -> list[str]:
    """The columns that a correlation's keys stand for in the rows of `name`."""
    aliases = rule.correlation.aliases
    return [aliases.get(key, {}).get(name, key) for key in rule.correlation.group_by]


def summed(rule: Rule) -> Sequence[str]:
    """The columns that a baseline sums up instead of counting rows."""
    if isinstance(rule.correlation, Baseline) and rule.correlation.condition.field:
        return rule.correlation.condition.field
    return ()


def cut(face: Mapping[str, parsers.Cheap], names: Iterable[str], text: pl.Expr) -> list[pl.Expr]:
    """The cheap columns by name, as they stand in the text; junk where the line is of another kind."""
    return [face[name].expr(text).alias(name) for name in names]


def valid(face: Mapping[str, parsers.Cheap], names: Iterable[str]) -> list[pl.Expr]:
    """The cut columns with their types, null where they are junk."""
    return [
        pl.when(pl.col(name).str.contains(f"^(?:{face[name].valid})$"))
        .then(pl.col(name))
        .cast(face[name].cast, strict=False)
        .alias(name)
        for name in names
    ]


def count(plan: Plan, frame: pl.DataFrame) -> pl.DataFrame:
    """Counts of one block: `frame` has `record`, `_seg`, `second` (microseconds) and the plan's columns as they stand.

    Rows are grouped first and tested then, so that junk and rules cost by the group and not by the row. Only where a rule asks
    for a column of many values are rows tested one by one, those alone that its other tests let through.
    """
    names = plan.columns()
    sums = [column for _, column in plan.sums]
    keys = ["_seg", "second", *(name for name in names if name not in sums)]
    numbers = [pl.col(column).cast(pl.Float64, strict=False).sum().alias(f"+{column}") for column in dict.fromkeys(sums)]
    raw = frame.group_by(keys).agg(pl.len().cast(pl.Int64).alias("+"), *numbers)
    face = plan.face()
    groups = raw.with_columns(valid(face, keys[2:]))
    schema = {name: face[name].cast for name in keys[2:]}
    parts = []
    grouped = [found for found in plan.detections if plan.is_grouped(found)]
    if grouped:
        flags = [detection.to_expr(found.loose, schema).alias(f"?{found.name}") for found in grouped]
        counts = [pl.col("+").filter(pl.col(f"?{found.name}")).sum().alias(f"n:{found.name}") for found in grouped]
        added = [pl.col(f"+{column}").filter(pl.col(f"?{name}")).sum().alias(f"s:{name}:{column}") for name, column in plan.sums]
        parts.append(groups.with_columns(flags).group_by("_seg", "second", *plan.keys).agg(*counts, *added))
    parts.extend(_row_by_row(plan, found, frame, raw, groups) for found in plan.detections if found not in grouped)
    return _together(plan, parts)


def _row_by_row(plan: Plan, found: Detection, frame: pl.DataFrame, raw: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Counts of a detection that asks for columns of many values."""
    face = plan.face()
    some = frame
    conjuncts = found.loose.children if isinstance(found.loose, detection.All) else ()
    for part in _flat(conjuncts):
        asked = detection.fields(part)
        if len(asked) == 1 and (name := next(iter(asked))) in groups.columns:
            passing = raw[name].filter(groups.select(detection.to_expr(part, {name: face[name].cast})).to_series())
            some = some.filter(pl.col(name).is_in(passing.unique().implode()))
    named = sorted(detection.fields(found.loose) | set(plan.keys))
    tested = some.select("_seg", "second", *cut(face, named, pl.col("record"))).with_columns(valid(face, named))
    kept = tested.filter(detection.to_expr(found.loose, {name: face[name].cast for name in named}))
    return kept.group_by("_seg", "second", *plan.keys).agg(pl.len().cast(pl.Int64).alias(f"n:{found.name}"))


def _flat(parts: Iterable[detection.Tree]) -> Iterator[detection.Tree]:
    """The conjuncts of nested conjunctions."""
    for part in parts:
        if isinstance(part, detection.All) or (isinstance(part, detection.Some) and len(part.children) == 1):
            yield from _flat(part.children)
        else:
            yield part


def _together(plan: Plan, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All counts of a plan in one frame."""
    numbers = [f"n:{found.name}" for found in plan.detections] + [f"s:{name}:{column}" for name, column in plan.sums]
    merged = pl.concat(parts, how="diagonal")
    if len(parts) > 1:
        merged = merged.group_by("_seg", "second", *plan.keys).agg(
            pl.col(name).sum() for name in numbers if name in merged.columns
        )
    missing = [
        pl.lit(0.0 if name.startswith("s:") else 0).cast(pl.Float64 if name.startswith("s:") else pl.Int64).alias(name)
        for name in numbers
        if name not in merged.columns
    ]
    full = merged.with_columns(missing).select("_seg", "second", *plan.keys, *numbers)
    some = pl.any_horizontal(pl.col(f"n:{found.name}") > 0 for found in plan.detections)
    return full.filter(some & pl.col("second").is_not_null())


def wanted_as_rows(ruleset: RuleSet) -> set[str]:
    """The detections whose rows are wanted, not only their counts."""
    named = {
        name
        for rule in ruleset.rules.values()
        for name in rule.rules
        if rule.correlation.type not in COUNTED or not _counts(ruleset, name)
    }
    shifts = {s.rule for d in ruleset.signatures.values() for s in (*d.signature.supports, *d.signature.contradicts)}
    return named | shifts


def _counts(ruleset: RuleSet, name: str) -> bool:
    return name in ruleset.detections and counted(ruleset.detections[name])
