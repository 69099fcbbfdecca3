"""What is counted over *all* rows, for the rules that need it: ratio, absence and baseline (`counting.py` does it).

Per block one `group_by` over the second and the few raw columns that the rules' keys come from; each detection is a flag that is
summed. Addresses stay addresses here: who owned them is asked when the counts are read, so late topology changes nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline import parsers
from pipeline.model import columns
from pipeline.parsers.cheap import Cheap
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

    def face(self) -> Mapping[str, Cheap]:
        """The cheap columns of its format."""
        return parsers.all_formats()[self.format].cheap

    def is_grouped(self, found: Detection) -> bool:
        """Whether a detection is decided on groups of rows: all it asks are keys, or columns of few values."""
        face = self.face()
        return all(name in self.keys or face[name].few for name in detection.fields(found.loose))

    def columns(self) -> tuple[str, ...]:
        """The cheap columns that must be cut out of every row: those that rows are grouped by, and numbers.

        A text of many values (the name of a question) is cut only out of the rows that the other tests of its rule let through.
        """
        face = self.face()
        named = {name for found in self.detections for name in detection.fields(found.loose)}
        wanted = {name for name in named if name in self.keys or face[name].few or face[name].cast.is_numeric()}
        return tuple(sorted({*self.keys, *wanted, *(column for _, column in self.sums)}))

    def grouping(self) -> tuple[str, ...]:
        """The cheap columns that rows are grouped by before they are tested."""
        face = self.face()
        return tuple(name for name in self.columns() if name in self.keys or face[name].few)


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


@functools.lru_cache(maxsize=1)
def plans(ruleset: RuleSet) -> tuple[Plan, ...]:
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
    return tuple(
        Plan(f"{source}/{','.join(keys)}", by_source[source], source, keys, tuple(found.values()), tuple(sorted(sums)))
        for (source, keys), (found, sums) in sorted(_absorbed(wanted).items())
    )


@functools.lru_cache(maxsize=1)
def plans_by_rule(ruleset: RuleSet) -> dict[str, tuple[str, ...]]:
    """For each rule the plans that count detections it stands on."""
    counted = [(plan.name, {found.name for found in plan.detections}) for plan in plans(ruleset)]
    return {rule.name: tuple(plan for plan, names in counted if names & set(rule.detections)) for rule in ruleset.rules.values()}


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


@functools.lru_cache(maxsize=1)
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


def merged(counts: pl.DataFrame) -> pl.DataFrame:
    """Counts with one row for each second and key. Sums stay apart: adding them in another order would round otherwise."""
    if any(name.startswith("s:") for name in counts.columns):
        return counts
    numbers = [name for name in counts.columns if name.startswith("n:")]
    keys = [name for name in counts.columns if name not in numbers]
    return counts.group_by(keys, maintain_order=True).agg(pl.col(numbers).sum()).select(counts.columns)


def _counts(ruleset: RuleSet, name: str) -> bool:
    return name in ruleset.detections and counted(ruleset.detections[name])
