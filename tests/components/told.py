"""Notifications for tests of sinks: of a replayed recording, and monstrous ones that hypothesis draws."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pipeline import parsers
from pipeline.contracts.sink import Event, Notification
from pipeline.model.incident import Incident
from pipeline.model.public import as_dict, rfc3339
from pipeline.runtime import replay
from pipeline.signatures import load

CAPTURE = Path(__file__).resolve().parent.parent / "captures" / "conntrack-table-full"
AT = 1_795_408_849_000_000
"""2026-11-23T04:40:49Z, just after the recording's disaster began."""
NOW = AT / 1e6 + 1
LABELS = {
    "alertname": "ConntrackTableFull", "severity": "critical", "cluster": "lab", "node": "node-b", "layer": "node",
    "signature": "conntrack-table-full",
}  # fmt: skip


def notification(event: Event = "opened", number: int = 1, **changes: Any) -> Notification:
    """Of the recording's root incident; `number` tells keys and revisions apart."""
    root, symptoms = recorded()
    if event in ("test", "digest") or changes.get("digest"):
        root, symptoms = {}, ()
    elif event == "resolved":
        root = root | {"status": "resolved", "ended": rfc3339(AT + 120_000_000)}
    given = {"key": f"key-{number}", "thread": "a86efe2d247662ac", "event": event, "at": AT, "labels": LABELS, "incident": root}
    return Notification(**{**given, "symptoms": symptoms, "revision": number, **changes})


@cache
def recorded() -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """The public forms of the root incident of the recording, and of what hangs below it."""
    found = replay.run(CAPTURE, load.load(parsers.vocabulary())).incidents
    by_id = {incident.id: incident for incident in found}
    root = next(incident for incident in found if incident.signature == "conntrack-table-full" and incident.cause is None)
    return as_dict(root), tuple(_below(root, by_id, 1))


def _below(cause: Incident, by_id: dict[str, Incident], depth: int) -> Iterator[dict[str, Any]]:
    for identity in cause.symptoms:
        yield as_dict(by_id[identity]) | {"depth": depth}
        yield from _below(by_id[identity], by_id, depth + 1)


HOSTILE = (
    "<!channel> <!here> <@U123> <https://evil.example|click> @here @channel @everyone &lt;!channel&gt;",
    "``` *bold* `code` ``` <!everyone>",
    "\x1b[31mred\x1b[0m \x00 \u202etfel ot thgir\u202c line\nbreak\ttab",
    '"quoted" \\back\\ {"json": 1}',
)
TEXT = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=40),
    st.sampled_from(HOSTILE).map(lambda text: text * 60),
    st.just("𝕏" * 1500),
    st.just("&" * 3500),
)


@st.composite
def monstrous(draw: st.DrawFn) -> Notification:
    """Texts from logs anywhere, of any length, with any number of symptoms and lines."""
    root, symptoms = recorded()
    line = {"at": root["started"], "source": "kernel", "rule": "r", "origin": "o", "text": draw(TEXT)}
    evidence = root["evidence"] | {
        "counts": {"r": 7, draw(TEXT): 1, **{f"r{n}": n for n in range(draw(st.integers(0, 60)))}},
        "titles": {"r": draw(TEXT)},
        "lines": [line] * draw(st.integers(0, 300)),
    }
    many = draw(st.integers(0, 200))
    incident = root | {
        "evidence": evidence, "title": draw(TEXT), "summary": draw(TEXT), "impact": draw(TEXT), "cluster": draw(TEXT),
        "group": {"k8s.node.name": draw(TEXT)}, "first_aid": [draw(TEXT)] * draw(st.integers(0, 50)), "blind": [draw(TEXT)] * draw(st.integers(0, 50)),
        "fix": [draw(TEXT)] * draw(st.integers(0, 50)), "entities": {"k8s.pod.name": {f"{draw(TEXT)}-{n}": 1 for n in range(many)}},
        "symptoms": [f"{n:016x}" for n in range(many)],
    }  # fmt: skip
    symptom = symptoms[0] | {"title": draw(TEXT), "group": {"k8s.namespace.name": draw(TEXT)}}
    below = tuple(symptom | {"signature": f"s{n}", "depth": 1 + n % 3} for n in range(many))
    event: Event = draw(st.sampled_from(("opened", "updated", "resolved", "folded", "digest", "test")))
    digest = tuple([draw(TEXT)] * draw(st.integers(1, 400))) if event == "digest" else ()
    labels = {"severity": "critical", draw(TEXT): draw(TEXT)}
    return Notification(
        "key-1",
        "thread-1",
        event,
        AT,
        labels,
        {} if event in ("digest", "test") else incident,
        () if event in ("digest", "test") else below,
        link="https://headwater.example/i/1",
        digest=digest,
        part_of=incident if event == "folded" else None,
    )
