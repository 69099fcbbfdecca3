"""What moves an incident's confidence, and what could not be seen when it happened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from pipeline.engine.correlate import Correlator
from pipeline.engine.grouping import SIDE_COLUMNS
from pipeline.engine.incidents import Span, touched
from pipeline.engine.state import State
from pipeline.engine.views import Views
from pipeline.engine.windows import MICRO, meets
from pipeline.model import columns
from pipeline.model.incident import Incident, Reason, Touch
from pipeline.signatures.models import Shift, Signature
from pipeline.signatures.ruleset import RuleSet

ALIVE = 2
"""Minutes: a node is alive when any of its streams gave a sign within so many."""


Moving = Sequence[tuple[Shift, pl.DataFrame | None]]
"""What may move a confidence, each with its rows; None where there are none."""


@dataclass(slots=True)
class Weighed:
    """Incidents of a signature that were weighed, by span. One is weighed again where it, or what moves it, is another."""

    rows: list[pl.DataFrame | None] = field(default_factory=list)
    done: dict[Span, tuple[Incident, Incident]] = field(default_factory=dict)

    def update(
        self, built: Sequence[tuple[Span, Incident]], moving: Moving, weigh: Callable[[Incident], Incident]
    ) -> list[tuple[Span, Incident]]:
        """The incidents with what moves their confidence."""
        rows = [frame for _, frame in moving]
        same = len(rows) == len(self.rows) and all(a is b for a, b in zip(rows, self.rows, strict=True))
        before = self.done if same else {}
        self.rows, self.done = rows, {}
        for span, incident in built:
            known = before.get(span)
            self.done[span] = known if known is not None and known[0] is incident else (incident, weigh(incident))
        return [(span, weighed) for span, (_, weighed) in self.done.items()]


def moving(signature: Signature, ruleset: RuleSet, views: Views, correlator: Correlator, until: int) -> Moving:
    """The rows that may move the confidence of a signature's incidents."""
    shifts = (*signature.supports, *signature.contradicts)
    return [(shift, _rows(shift, ruleset, views, correlator, until)) for shift in shifts]


def weigh(incident: Incident, signature: Signature, ruleset: RuleSet, found: Moving) -> Incident:
    """The incident with the reasons (of the rows `found`) that move its confidence; a veto is noted."""
    reasons: list[Reason] = []
    vetoed = False
    for shift, rows in found:
        begin, end = incident.started - signature.skew, incident.last + shift.within
        number = _near(rows.filter(pl.col("t").is_between(begin, end)), incident, shift) if rows is not None else 0
        if meets(shift.condition.bounds(), number):
            reasons.append(Reason(shift.rule, _title(shift.rule, ruleset), shift.confidence, int(number)))
            vetoed = vetoed or shift.veto
    return replace(incident, reasons=tuple(reasons), vetoed=vetoed)


def _title(name: str, ruleset: RuleSet) -> str:
    if name in ruleset.detections:
        return ruleset.detections[name].title
    return ruleset.signatures[name].signature.title if name in ruleset.signatures else name


def _rows(shift: Shift, ruleset: RuleSet, views: Views, correlator: Correlator, until: int) -> pl.DataFrame | None:
    if shift.rule in ruleset.detections:
        rows = views.rows(shift.rule)
        return None if rows.is_empty() else rows
    name = (
        shift.rule
        if shift.rule in ruleset.rules
        else next(s for s, f in ruleset.signatures.items() if f.signature.name == shift.rule)
    )
    outcome = correlator.outcome(name, until)
    return outcome.rows if outcome.hits else None


def _near(rows: pl.DataFrame, incident: Incident, shift: Shift) -> float:
    """The number (or the distinct values) of the rows that touch the incident's entities `on`."""
    if rows.is_empty():
        return 0
    places = [name for name in (*columns.ENTITY, *SIDE_COLUMNS) if name in rows.columns]
    field = shift.condition.field[0] if shift.condition.field else None
    extra = [field] if field and field in rows.columns and field not in places else []
    counted = rows.group_by([*places, *extra], maintain_order=True).agg(pl.col("w").sum())
    wanted = {columns.ENTITY.index(key): _values(incident, key) for key in shift.on}
    seen: set[object] = set()
    total = 0
    for *values, weight in counted.iter_rows():
        row = dict(zip([*places, *extra], values, strict=True))
        touching = [touch for touch in touched(row) if all(touch[at] in found for at, found in wanted.items())]
        if touching:
            total += weight
            seen.update(_measured(row, touching, field))
    return len(seen) if field else total


def _measured(row: Mapping[str, object], touching: Sequence[Touch], field: str | None) -> list[object]:
    if field in columns.ENTITY:
        at = columns.ENTITY.index(str(field))
        return [touch[at] for touch in touching if touch[at]]
    value = row.get(field) if field else None
    return [] if value is None else [value]


def _values(incident: Incident, key: str) -> set[str]:
    """The values of an entity key that the incident is about: its group's, else what it touched."""
    return {incident.group[key]} if key in incident.group else set(incident.entities.get(key, {}))


def blindness(incident: Incident, state: State) -> Incident:
    """The incident with what was silent while it began: nodes of which no stream gave a sign."""
    if incident.status == "near_miss":
        return incident
    begin, end = incident.started // (60 * MICRO) - ALIVE, incident.last // (60 * MICRO) + ALIVE
    notes = []
    for node in incident.entities.get("k8s.node.name", {}):
        minutes = state.clocks.minutes_of(node)
        if any(begin <= minute <= end for minute in minutes):
            continue
        last = max((minute for minute in minutes if minute < begin), default=None)
        when = f"has given no sign since {datetime.fromtimestamp(last * 60, UTC):%H:%M}" if last else "was never heard"
        notes.append(f"{node} {when}")
    return replace(incident, blind=tuple(notes))
