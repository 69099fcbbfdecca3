"""Any log text through the engine, without topology and without configuration: what are these lines evidence of?"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import PurePath

from pipeline.engine.engine import Engine
from pipeline.engine.enrich import UNKNOWN
from pipeline.engine.routing import Names
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch, Stream
from pipeline.parsers import kubectl
from pipeline.runtime.replay import troubles
from pipeline.signatures import load
from pipeline.signatures.ruleset import Disaster, RuleSet

DOCUMENT = 64 << 20
"""Bytes up to which a file is looked at as one document (`kubectl get events -o yaml`)."""
_UPTIME = re.compile(rb"^(?:<\d+>|\w+ *: *\w+ *: )?\[ *(\d+)\.(\d{6})\]|^\d+,\d+,(\d+),[^;]*;", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A signature that some lines are evidence of, with their number by rule, and what else would make it sure."""

    signature: Disaster
    counts: Mapping[str, int]
    missing: Sequence[str]


@dataclass(slots=True)
class Scan:
    """What a scan found."""

    lines: int
    incidents: list[Incident]
    seen: list[Seen]
    formats: dict[str, int]
    counts: dict[tuple[str, str], int]
    troubles: list[str] = field(default_factory=list)


def run(files: list[str], ruleset: RuleSet, *, now: datetime, names: Names | None = None) -> Scan:
    """Scan files (or `-`). A line without a time is of the moment of the newest dated line before it, else of `now`."""
    opened = import_module("connectors.logfiles").open_files(files)
    engine = Engine(ruleset, cache=load.cache_folder(), floor=round(now.timestamp() * 1_000_000), trusting=True, names=names)
    for name in opened.names:
        for batch in _batches(name, opened.blocks(name), now):
            engine.feed([batch])
    engine.finish()
    found = engine.incidents()
    counts = engine.evidence()
    formats = {label: number for (metric, label), number in engine.state.counts.items() if metric == "rows"}
    lines = sum(number for (metric, _), number in engine.state.counts.items() if metric == "lines")
    wrong = [*opened.troubles, *troubles(engine)]
    return Scan(lines, found, _seen(ruleset, counts), formats, dict(engine.state.counts), wrong)


def _batches(name: str, blocks: Iterator[bytes], now: datetime) -> Iterator[RawBatch]:
    """A file's blocks as batches of a stream called after the file; a document of events as one event a line."""
    label = "stdin" if name == "-" else PurePath(name).name
    offset = 0
    stream: Stream | None = None
    for data in blocks:
        if stream is None:
            document = _document(data)
            data = document if document is not None else data  # noqa: PLW2901 (the same file in another form)
            envelope = "plain" if document is not None else None
            stream = Stream(name, envelope, node=label, namespace=UNKNOWN, pod=label, boot_time=_boot(data, now))
        yield RawBatch(stream, data, offset)
        offset += len(data)


def _document(data: bytes) -> bytes | None:
    """Events of a JSON or YAML document, one a line."""
    head = data[:4096].lstrip()
    if len(data) > DOCUMENT or not (head.startswith((b"{", b"apiVersion:", b"---")) or b"\nkind:" in head):
        return None
    if head.startswith(b"{") and b"\n" in data.strip() and head.split(b"\n", 1)[0].rstrip().endswith(b"}"):
        return None  # one object a line
    events = kubectl.events_from_document(data.decode("utf-8", "replace"))
    return "".join(f"{event}\n" for event in events).encode() if events else None


def _boot(data: bytes, now: datetime) -> datetime | None:
    """When the machine booted if the last kernel line is of now: `dmesg` without -T counts from the boot."""
    last = next(iter(deque(_UPTIME.finditer(data), maxlen=1)), None)
    if last is None:
        return None
    up = int(last[3]) if last[3] else int(last[1]) * 1_000_000 + int(last[2])
    return now.astimezone(UTC) - timedelta(microseconds=up)


def _seen(ruleset: RuleSet, counts: Mapping[str, int]) -> list[Seen]:
    """Signatures by how much of their evidence is there, most first; those that share a line all show."""
    found = []
    for disaster in ruleset.signatures.values():
        rule = ruleset.rules.get(disaster.rule)
        own = list(rule.detections) if rule else [disaster.rule]
        there = {name: counts[name] for name in own if counts.get(name)}
        if not there:
            continue
        wanted = [*own, *(shift.rule for shift in disaster.signature.supports)]
        absent = [name for name in dict.fromkeys(wanted) if not counts.get(name)]
        missing = [ruleset.detections[name].title for name in absent if name in ruleset.detections]
        found.append(Seen(disaster, there, missing))
    return sorted(found, key=lambda seen: (-sum(seen.counts.values()), seen.signature.slug))
