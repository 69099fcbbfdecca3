"""The public form of incidents: what `--output json`, the store and webhooks carry. Times are RFC 3339, UTC."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.model import words
from pipeline.model.incident import Incident


def rfc3339(at: int | None) -> str | None:
    """Microseconds since 1970 as RFC 3339."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def microseconds(time: str) -> int:
    """RFC 3339 as microseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1_000_000)


def as_dict(incident: Incident) -> dict[str, Any]:
    """The public form of an incident."""
    times = [cell.second for cell in incident.cells]
    return {
        "id": incident.id,
        "signature": incident.signature,
        "title": incident.title,
        "level": incident.level,
        "status": incident.status,
        "group": dict(incident.group),
        "confidence": incident.confidence,
        "started": rfc3339(incident.started),
        "detected": rfc3339(incident.detected),
        "ended": rfc3339(incident.ended),
        "entities": {key: dict(values) for key, values in incident.entities.items()},
        "cause": incident.cause,
        "causes": [{"id": share.id, "coverage": share.coverage} for share in incident.causes],
        "evidence": {
            "rows": incident.rows,
            "first": rfc3339(incident.started if times else None),
            "last": rfc3339(incident.last),
            "counts": dict(incident.counts),
            "titles": dict(incident.titles),
            "lines": [
                {
                    "at": rfc3339(line.at),
                    "source": line.source,
                    "rule": line.rule,
                    "origin": line.origin,
                    "text": line.text,
                }
                for line in incident.lines
            ],
        },
        "layer": incident.layer,
        "cluster": incident.cluster,
        "summary": incident.summary,
        "what": incident.what,
        "likely_cause": incident.cause_text,
        "impact": incident.impact,
        "symptoms": list(incident.symptoms),
        "reasons": [{"rule": r.rule, "title": r.title, "confidence": r.confidence, "rows": r.rows} for r in incident.reasons],
        "blind": list(incident.blind),
        "first_aid": list(incident.first_aid),
        "fix": list(incident.fix),
        "rule": {"version": incident.version, "digest": incident.digest},
    }


def as_json(incident: Incident) -> str:
    """One line."""
    return json.dumps(as_dict(incident), ensure_ascii=False, separators=(",", ":"))


def place(form: Mapping[str, Any]) -> str:
    """The entity that an incident (in its public form) is about, as people write it: `shop/cart`, `node-b`."""
    return words.place(form["group"], form["cluster"])
