"""A replay compared with the truth about its capture (`expect.yaml`)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.documents import duration
from pipeline.engine.objects import microseconds
from pipeline.errors import CaptureError
from pipeline.model.incident import Incident
from pipeline.model.public import rfc3339


def expectation(path: Path) -> dict[str, Any]:
    """The `expect.yaml` of a capture. Raises CaptureError."""
    file = path / "expect.yaml"
    try:
        loaded = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise CaptureError(
            f"checking {path}: {file} cannot be read: {' '.join(str(error).split())}; it must state what is true"
        ) from error
    if not isinstance(loaded, dict):
        raise CaptureError(f"checking {path}: {file} is no map; it must have `roots` or `silent`")
    return loaded


def differences(incidents: Sequence[Incident], expect: Mapping[str, Any]) -> list[str]:
    """What differs from the truth, a line each; empty when the replay is right."""
    real = [incident for incident in incidents if incident.status != "near_miss"]
    if expect.get("silent"):
        return [f"must be silent, but says: {_name(incident)}" for incident in real]
    tops = [incident for incident in real if incident.cause is None]
    found: list[str] = []
    accounted: set[str] = set()
    for root in expect.get("roots") or []:
        same = [top for top in tops if top.signature == root["signature"] and _in_group(top, root.get("group") or {})]
        if not same:
            found.append(_missing(root, real))
            continue
        accounted.add(same[0].id)
        found.extend(_compare(same[0], root, real))
    allowed = set(expect.get("also") or [])
    never = set(expect.get("never") or [])
    for top in tops:
        if top.signature in never:
            found.append(f"wrong answer at the top: {_name(top)}")
        elif top.id not in accounted and top.signature not in allowed:
            found.append(f"stands at the top as well: {_name(top)}")
    return found


def _name(incident: Incident) -> str:
    group = ", ".join(f"{key}={value}" for key, value in incident.group.items())
    return f"{incident.signature} ({group}) from {rfc3339(incident.started)}, {incident.rows} rows"


def _missing(root: Mapping[str, Any], real: Sequence[Incident]) -> str:
    group = ", ".join(f"{key}={value}" for key, value in (root.get("group") or {}).items())
    others = [incident for incident in real if incident.signature == root["signature"]]
    by_id = {incident.id: incident for incident in real}
    hints = [f"{_name(i)} under {by_id[i.cause].signature}" if i.cause in by_id else _name(i) for i in others]
    return f"missing at the top: {root['signature']} ({group})" + (f"; there is {'; '.join(hints)}" if hints else "")


def _in_group(incident: Incident, group: Mapping[str, str]) -> bool:
    """Equal on these keys, or at least half of what the evidence touched under the key."""
    for key, value in group.items():
        if key in incident.group:
            if incident.group[key] != value:
                return False
            continue
        counts = incident.entities.get(key, {})
        if counts.get(value, 0) * 2 < sum(counts.values()) or not counts:
            return False
    return True


def _compare(incident: Incident, root: Mapping[str, Any], real: Sequence[Incident]) -> list[str]:
    found: list[str] = []
    if "started" in root:
        low, high = (_time(value) for value in root["started"])
        if not low <= incident.started <= high:
            found.append(f"{incident.signature}: started {rfc3339(incident.started)}, expected {rfc3339(low)} to {rfc3339(high)}")
    if "detected_within" in root:
        took = incident.detected - incident.started
        if took > duration(root["detected_within"]):
            found.append(f"{incident.signature}: detected after {took / 1e6:.1f} s, expected within {root['detected_within']}")
    explained = below(incident, real)
    missing = [symptom for symptom in root.get("symptoms") or [] if symptom not in explained]
    return found + [f"{incident.signature}: {symptom} does not hang below it" for symptom in missing]


def below(incident: Incident, real: Sequence[Incident]) -> set[str]:
    """The signatures that hang below an incident, directly or through others."""
    by_id = {other.id: other for other in real}
    found: set[str] = set()
    stack = list(incident.symptoms)
    while stack:
        other = by_id[stack.pop()]
        found.add(other.signature)
        stack.extend(other.symptoms)
    return found


def _time(value: object) -> int:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1_000_000)
    at = microseconds(value)
    if at is None:
        raise CaptureError(f"expect.yaml: {value!r} is no RFC 3339 time")
    return at
