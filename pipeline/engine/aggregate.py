"""Counts over *all* rows, for the rules that need them: ratio, absence and baseline.

Per block one `group_by` over the second and the few raw columns that the rules' keys come from; each detection is a flag that is
summed. Addresses stay addresses here: who owned them is asked when the counts are read, so late topology changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    """One `group_by`: the rows of `source`, by raw `keys`, counting `detections` and summing `sums` (detection, column)."""

    name: str
    format: str
    source: str
    keys: tuple[str, ...]
    detections: tuple[Detection, ...]
    sums: tuple[tuple[str, str], ...]

    def columns(self) -> tuple[str, ...]:
        """The cheap columns that must be cut out of every row."""
        named = {column for found in self.detections for column in detection.fields(found.loose)}
        return tuple(sorted({*self.keys, *named, *(column for _, column in self.sums)}))


def raw_key(column: str) -> tuple[str, ...]:
    """The raw columns that a key column is derived from; none where the stream itself tells."""
    if column in STREAM_COLUMNS or column == "cloud.availability_zone":
        return ()
    if column == "k8s.service.name":
        return ("upstream.name",)
    if column in columns.TOPOLOGY:
        side = column.split(".")[0]
        if column in ("upstream.k8s.service.name", "upstream.k8s.namespace.name"):
            return ("upstream.address", "upstream.name")
        return (f"{side}.address",)
    return (column,)


def plans(ruleset: RuleSet) -> list[Plan]:
    """The plans of a rule set, one for every row kind and set of raw keys."""
    wanted: dict[tuple[str, tuple[str, ...]], tuple[dict[str, Detection], set[tuple[str, str]]]] = {}
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
        for (source, keys), (found, sums) in sorted(wanted.items())
    ]


def raw_keys(rule: Rule, found: Detection) -> tuple[str, ...]:
    """The raw columns by which the rows of a detection are counted: those of the rule's keys and of its own topology tests."""
    named = [*key_columns(rule, found.name), *(column for column in found.columns if column in columns.TOPOLOGY)]
    return tuple(sorted({raw for column in named for raw in raw_key(column)}))


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


def cut(face: Mapping[str, parsers.Cheap], names: Iterable[str], text: pl.Expr, *, strict: frozenset[str]) -> list[pl.Expr]:
    """The cheap columns by name; those in `strict` are tested row by row, since a rule asks only whether they are there."""
    exprs = []
    for name in names:
        cheap = face[name]
        value = cheap.expr(text)
        if name in strict:
            value = pl.when(value.str.contains(f"^(?:{cheap.valid})$")).then(value)
        exprs.append(value.cast(cheap.cast, strict=False).alias(name))
    return exprs


def strict_columns(detections: Iterable[Detection]) -> frozenset[str]:
    """Columns for which presence or a negation decides: junk slices would count there."""
    return frozenset(
        test.field
        for found in detections
        for test in detection.tests(found.loose)
        if test.kind == "exists" or test.value is None or _negated(found.loose)
    )


def _negated(tree: detection.Tree) -> bool:
    if isinstance(tree, detection.Test):
        return False
    return isinstance(tree, detection.Not) or any(_negated(child) for child in tree.children)


def count(plan: Plan, frame: pl.DataFrame) -> pl.DataFrame:
    """Counts of one block: `frame` has `_seg`, `second` (microseconds) and the plan's columns."""
    face = parsers.all_formats()[plan.format].cheap
    schema = {name: face[name].cast for name in plan.columns()}
    flags = [detection.to_expr(found.loose, schema).alias(f"n:{found.name}") for found in plan.detections]
    flagged = frame.with_columns(flags)
    sums = [
        (pl.col(f"n:{name}") * pl.col(column)).sum().cast(pl.Float64).alias(f"s:{name}:{column}") for name, column in plan.sums
    ]
    grouped = flagged.group_by("_seg", "second", *plan.keys).agg(
        *(pl.col(f"n:{found.name}").sum().cast(pl.Int64) for found in plan.detections), *sums
    )
    for key in plan.keys:
        if face[key].cast == pl.String():
            grouped = grouped.with_columns(pl.when(pl.col(key).str.contains(f"^(?:{face[key].valid})$")).then(pl.col(key)))
    some = pl.any_horizontal(pl.col(f"n:{found.name}") > 0 for found in plan.detections)
    return grouped.filter(some & pl.col("second").is_not_null())
