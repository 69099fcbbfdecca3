"""Candidate rows to matched rows: every detection that may concern a batch at once, then extraction.

Rows are kept as they were written; the topology join is made where they are read (`views`). What a detection says about topology
columns is left open here (`loose`) and decided there, since topology may arrive after the rows.
"""

import functools
from collections.abc import Iterable, Mapping

import polars as pl

from pipeline.engine.state import State
from pipeline.model import columns
from pipeline.signatures import detection
from pipeline.signatures.ruleset import Detection, RuleSet

KEPT = (
    "event.id", "@timestamp", "source", "message", "k8s.cluster.name", "k8s.node.name", "k8s.namespace.name", "k8s.pod.name",
    "k8s.workload.name", "container.name", "container.image.name", "process.name", "log.level", "k8s.service.name", "k8s.pod.app",
    "client.address", "upstream.address", "upstream.duration", "upstream.name", "url.domain", "url.path", "error.code",
    "event.duration", "event.uid", "event.count", "event.first",
)  # fmt: skip


class Matcher:
    """Finds and keeps the rows that the detections of a rule set match."""

    def __init__(self, ruleset: RuleSet, types: Mapping[str, pl.DataType]) -> None:
        used = _used(ruleset)
        known = {
            "container.image.name": pl.String(),
            "k8s.pod.app": pl.String(),
            **types,
            **{name: pl.String() for name in used if name not in types},
        }
        names = dict.fromkeys((*KEPT, *sorted(used & set(known))))
        self.schema = {name: known[name] for name in names if name not in columns.TOPOLOGY and name not in columns.DERIVED}
        self.schema |= {name: known[name] for name in names if name in ("object.kind", "object.name", "k8s.service.name")}
        self.keys = tuple(sorted(used & set(self.schema) - {"message", "client.address"}))
        """The columns that rules look at, beyond what names the writer: rows that differ in them are never folded."""
        self._detections = ruleset.detections
        self._dense = [found for found in ruleset.detections.values() if found.dense and not found.literals]
        self._flags: dict[tuple[str, tuple[pl.DataType | None, ...]], pl.Expr] = {}

    def keep(self, frames: Iterable[pl.DataFrame], active: Iterable[str], state: State) -> set[str]:
        """Match parsed rows, add them to the state; gives the detections that have new rows."""
        parts = [frame for frame in frames if not frame.is_empty()]
        if not parts:
            return set()
        rows = pl.concat(parts, how="diagonal_relaxed")
        # A row without a time of its own is taken to be of the moment it came.
        rows = rows.with_columns(pl.coalesce("@timestamp", "observed").alias("@timestamp"))
        rows = self._timely(rows, state)
        chosen = [self._detections[name] for name in active] + self._dense
        chosen = list({found.name: found for found in chosen}.values())
        if state.rows is not None:
            rows = rows.join(state.rows.select("event.id"), on="event.id", how="anti", maintain_order="left")
        there = set(rows["source"].unique())
        chosen = [found for found in chosen if found.selector.sources is None or found.selector.sources & there]
        if rows.is_empty() or not chosen:
            return set()
        rows = rows.unique("event.id", keep="first", maintain_order=True)
        schema = dict(rows.schema)
        flags = {found.name: self._flag(found, schema) for found in chosen}
        marked = _marked(_with_programs(rows), flags, state)
        if "event.watch" in marked.columns:
            marked = marked.filter(pl.col("event.watch").ne_missing("DELETED"))
        marked = marked.filter(pl.any_horizontal(f"?{found.name}" for found in chosen))
        return self._store(marked, chosen, state) if not marked.is_empty() else set()

    def _flag(self, found: Detection, schema: Mapping[str, pl.DataType]) -> pl.Expr:
        """Whether a detection matches a row; kept, since putting the expression together costs as much as asking it."""
        types = tuple(schema.get(name) for name in sorted(detection.fields(found.loose)))
        if (found.name, types) not in self._flags:
            self._flags[found.name, types] = found.selector.expr() & detection.to_expr(found.loose, schema)
        return self._flags[found.name, types]

    def _timely(self, rows: pl.DataFrame, state: State) -> pl.DataFrame:
        """Rows that are not older than what was forgotten; the others are counted."""
        timely = rows.filter(pl.col("@timestamp").dt.epoch("us") >= state.forgotten)
        if late := len(rows) - len(timely):
            state.counts["too_late", "rows"] += late
        return timely

    def _store(self, marked: pl.DataFrame, chosen: list[Detection], state: State) -> set[str]:
        some = marked.select(pl.col(f"?{found.name}").any() for found in chosen).row(0)
        chosen = [found for found, any_ in zip(chosen, some, strict=True) if any_]
        for found in chosen:
            marked = _extract(marked, found, self.schema)
        numbered = marked.with_columns((pl.int_range(pl.len(), dtype=pl.UInt32) + state.next_row).alias("_n"))
        state.next_row += len(marked)
        changed = set()
        for found in chosen:
            numbers = numbered.filter(pl.col(f"?{found.name}"))["_n"]
            if len(numbers):
                before = state.matched.get(found.name)
                state.matched[found.name] = numbers if before is None else pl.concat([before, numbers])
                changed.add(found.name)
        kept = numbered.select(
            "_n",
            pl.lit(1, pl.Int64).alias("event.weight"),
            *(
                (pl.col(name).cast(dtype, strict=False) if name in numbered.columns else pl.lit(None, dtype)).alias(name)
                for name, dtype in self.schema.items()
            ),
        )
        state.rows = kept if state.rows is None else pl.concat([state.rows, kept])
        return changed


def _marked(rows: pl.DataFrame, flags: Mapping[str, pl.Expr], state: State) -> pl.DataFrame:
    """Rows with a flag for each detection, `?name`. One that fails on them is counted and matches none; the others go on."""
    try:
        return rows.with_columns(flag.alias(f"?{name}") for name, flag in flags.items())
    except pl.exceptions.PolarsError:
        for name, flag in flags.items():
            try:
                rows = rows.with_columns(flag.alias(f"?{name}"))
            except pl.exceptions.PolarsError as error:
                state.counts["rule_errors", name] += 1
                state.samples_of_trouble.setdefault(("rule_errors", name), f"{type(error).__name__}: {error}"[:500])
                rows = rows.with_columns(pl.lit(value=False).alias(f"?{name}"))
        return rows


@functools.lru_cache(maxsize=1)
def _used(ruleset: RuleSet) -> frozenset[str]:
    """The columns that rules look at, group by, alias or measure."""
    looked_at = {column for name in ruleset.detections for column in ruleset.columns(name)}
    return frozenset(looked_at.union(*(_named(rule.correlation) for rule in ruleset.rules.values())))


def _named(correlation: object) -> set[str]:
    """The columns a correlation groups by, aliases or measures."""
    found = set(getattr(correlation, "group_by", ()))
    for fields in getattr(correlation, "aliases", {}).values():
        found |= set(fields.values())
    found -= set(getattr(correlation, "aliases", {}))
    for part in (
        getattr(correlation, "condition", None),
        *(getattr(e, "condition", None) for e in getattr(correlation, "effects", ())),
    ):
        found |= set(getattr(part, "field", None) or ())
    return found


def _with_programs(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns that selectors look at, null where no row has them."""
    missing = [
        name for name in ("container.name", "process.name", "container.image.name", "k8s.pod.app") if name not in rows.columns
    ]
    return rows.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)


def _extract(rows: pl.DataFrame, found: Detection, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The named groups of a detection's patterns, on the rows it matched."""
    for column, patterns in found.extract.items():
        if column not in rows.columns:
            continue
        for pattern in patterns:
            groups = pl.col(column).str.extract_groups(pattern)
            names = [field.name for field in rows.select(groups).to_series().dtype.fields if field.name in found.extracted]  # type: ignore[attr-defined]
            for name in names:
                target = found.extracted[name]
                value = pl.when(pl.col(f"?{found.name}")).then(groups.struct.field(name))
                rows = rows.with_columns(_into(rows, target, value, schema.get(target, pl.String())))
    return rows


def _into(rows: pl.DataFrame, target: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column with what was extracted where it has nothing; of a list, as its only element."""
    typed = (
        pl.when(value.is_not_null()).then(pl.concat_list(value))
        if isinstance(dtype, pl.List)
        else value.cast(dtype, strict=False)
    )
    return (pl.coalesce(target, typed) if target in rows.columns else typed).alias(target)
