"""Rule tests: every case of `cases.yaml` in order, shuffled, cut at every record, and restarted.

Each case states the exact set of incidents at the top at given moments; all four ways must agree at the last of them.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.engine.engine import Engine
from pipeline.engine.windows import meets
from pipeline.errors import HeadwaterError, UsageError
from pipeline.model.incident import Incident
from pipeline.runtime import fixtures
from pipeline.runtime.check import below
from pipeline.runtime.merge import JITTER, Record, batches_of
from pipeline.signatures import load
from pipeline.signatures.models import Threshold
from pipeline.signatures.ruleset import RuleSet

WAYS = ("in order", "shuffled", "cut at every record", "restarted")


@dataclass(frozen=True, slots=True)
class Result:
    """One case run one way; `failures` is empty when it is as expected."""

    signature: str
    case: str
    way: str
    failures: tuple[str, ...]


def read(path: Path) -> list[dict[str, Any]]:
    """The cases of a file. Raises UsageError with the place where it is not readable."""
    try:
        loaded = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UsageError(f"{where}: the cases cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, list) or not all(isinstance(case, dict) and "case" in case for case in loaded):
        raise UsageError(f"{path}: must be a list of cases, each with `case`, `lines` and `expect`")
    return loaded


def run(cases: Sequence[Mapping[str, Any]], signature: str, ruleset: RuleSet, *, ways: Sequence[str] = WAYS) -> Iterator[Result]:
    """Run cases; one result a case and way."""
    for case in cases:
        name = str(case["case"])
        try:
            records = fixtures.records(case)
        except (HeadwaterError, KeyError, ValueError, TypeError) as error:
            yield Result(signature, name, "reading", (f"the case cannot be built: {error!r}",))
            continue
        for way in ways:
            yield Result(signature, name, way, tuple(_RUNNERS[way](case, records, ruleset)))


def _engine(ruleset: RuleSet) -> Engine:
    return Engine(ruleset, cluster=fixtures.CLUSTER, cache=load.cache_folder())


def _in_order(case: Mapping[str, Any], records: Sequence[Record], ruleset: RuleSet) -> list[str]:
    """Record by record as they came; asked at every moment that the case names."""
    engine = _engine(ruleset)
    failures: list[str] = []
    fed = 0
    for expected in sorted(case.get("expect") or [], key=lambda e: fixtures.moment(e.get("at", "0s"))):
        at = fixtures.micros(fixtures.moment(expected.get("at", "0s")))
        due = [record for record in records[fed:] if record.key <= at]
        if due:
            engine.feed(batches_of(due))
        fed += len(due)
        failures.extend(f"at {expected.get('at', '0s')}: {text}" for text in compare(engine.incidents(at), expected))
    return failures


def _at_end(case: Mapping[str, Any], engine: Engine) -> list[str]:
    asked: Sequence[Mapping[str, Any]] = case.get("expect") or [{"incidents": []}]
    last = max(asked, key=lambda entry: fixtures.moment(entry.get("at", "0s")))
    return compare(engine.incidents(fixtures.end(case)), last)


def _due(case: Mapping[str, Any], records: Sequence[Record]) -> list[Record]:
    limit = fixtures.end(case)
    return [record for record in records if record.key <= limit]


def _shuffled(case: Mapping[str, Any], records: Sequence[Record], ruleset: RuleSet) -> list[str]:
    engine = _engine(ruleset)
    draw = random.Random(str(case["case"]))  # noqa: S311 (a reproducible shuffle)
    shuffled = sorted(_due(case, records), key=lambda record: record.key + draw.randrange(JITTER))
    for begin in range(0, len(shuffled), 7):
        engine.feed(batches_of(shuffled[begin : begin + 7]))
    return _at_end(case, engine)


def _every_record(case: Mapping[str, Any], records: Sequence[Record], ruleset: RuleSet) -> list[str]:
    engine = _engine(ruleset)
    for at, record in enumerate(_due(case, records)):
        engine.feed(batches_of([record]))
        if at % 5 == 0:
            engine.incidents()  # asking in between must change nothing
    return _at_end(case, engine)


def _restarted(case: Mapping[str, Any], records: Sequence[Record], ruleset: RuleSet) -> list[str]:
    engine = _engine(ruleset)
    due = _due(case, records)
    step = max(1, len(due) // 4)
    for begin in range(0, len(due), step):
        engine.feed(batches_of(due[begin : begin + step]))
        engine = Engine.restore(engine.snapshot(), ruleset, cache=load.cache_folder())
    return _at_end(case, engine)


_RUNNERS: dict[str, Callable[[Mapping[str, Any], Sequence[Record], RuleSet], list[str]]] = {
    "in order": _in_order,
    "shuffled": _shuffled,
    "cut at every record": _every_record,
    "restarted": _restarted,
}


def compare(incidents: Sequence[Incident], expected: Mapping[str, Any]) -> list[str]:
    """What differs between the incidents at the top and those expected."""
    real = [incident for incident in incidents if incident.status != "near_miss"]
    tops = [incident for incident in real if incident.cause is None]
    failures: list[str] = []
    for wanted in expected.get("incidents") or []:
        same = [top for top in tops if top.signature == wanted["signature"] and _has(top, wanted.get("group") or {})]
        if not same:
            failures.append(f"expected {wanted['signature']} {dict(wanted.get('group') or {})}, there is {_listed(real)}")
            continue
        tops.remove(same[0])
        failures.extend(_compare(same[0], wanted, real))
    failures.extend(f"not expected: {_listed([top])}" for top in tops)
    near = {incident.signature for incident in incidents if incident.status == "near_miss"}
    failures.extend(f"expected a near miss of {slug}" for slug in expected.get("near_misses") or [] if slug not in near)
    return failures


def _has(incident: Incident, group: Mapping[str, str]) -> bool:
    return all(incident.group.get(key) == value or value in incident.entities.get(key, {}) for key, value in group.items())


def _listed(incidents: Sequence[Incident]) -> str:
    by_id = {incident.id: incident for incident in incidents}
    names = [
        f"{i.signature} {dict(i.group)}" + (f" under {by_id[i.cause].signature}" if i.cause in by_id else "") for i in incidents
    ]
    return "; ".join(names) or "nothing"


def _compare(incident: Incident, wanted: Mapping[str, Any], real: Sequence[Incident]) -> list[str]:
    failures: list[str] = []
    for key, value in wanted.items():
        if key in ("signature", "group"):
            continue
        if key == "symptoms":
            missing = set(value) - below(incident, real)
            failures.extend(f"{incident.signature}: {symptom} does not hang below it" for symptom in sorted(missing))
        elif key.endswith("|contains"):
            text = str(getattr(incident, key.removesuffix("|contains")))
            if value not in text:
                failures.append(f"{incident.signature}: {key} {value!r}, is {text!r}")
        elif key in ("confidence", "rows"):
            bounds = Threshold.model_validate(value if isinstance(value, dict) else {"eq": value}).bounds()
            actual = float(getattr(incident, key))
            if not meets(bounds, actual):
                failures.append(f"{incident.signature}: {key} is {actual:g}, expected {value}")
        elif getattr(incident, key, None) != value:
            failures.append(f"{incident.signature}: {key} is {getattr(incident, key, None)!r}, expected {value!r}")
    return failures
