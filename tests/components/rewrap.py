"""A recording read into rows, and written anew: the same rows as another runtime, shipper or version would have left them.

`read` takes a capture apart, `SHAPES` names the ways of writing it. Wire forms: INTEROP section 2. A shape changes how a row
is wrapped and never what its program wrote; what a shape cannot carry (a shipper without kernel lines) stays in its file.
"""

import functools
import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import zstandard
from ruamel.yaml import YAML

CLUSTER = "lab"
BODY = 100
"""Records a push body."""
SHORTEST = 60
"""Characters from which on a line is cut into parts."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a container wrote; `at` is RFC 3339 in UTC with nanoseconds, `tag` F or P."""

    at: str
    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    number: str
    output: str
    tag: str
    text: str

    @property
    def nanoseconds(self) -> int:
        return _micros(self.at) * 1000 + int(self.at.removesuffix("Z").partition(".")[2].ljust(9, "0")[6:9])

    @property
    def path(self) -> str:
        return f"/var/log/pods/{self.namespace}_{self.pod}_{self.uid}/{self.container}/{self.number}.log"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel record; `at` in microseconds since 1970."""

    at: int
    node: str
    prio: int
    usec: int
    text: str


@dataclass(slots=True)
class Recording:
    """A capture's rows, and the files that no shape rewrites (topology, counters)."""

    folder: Path
    nodes: dict[str, datetime]
    lines: list[Line] = field(default_factory=list)
    kernel: list[Kernel] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def shipped(self) -> Iterator[tuple[int, Line | Kernel | dict[str, Any]]]:
        """All rows in the order of their times (microseconds); events stay in the order of their arrival."""
        seen = accumulate((_micros(_last(event)) for event in self.events), max)
        rows: list[tuple[int, Line | Kernel | dict[str, Any]]] = list(zip(seen, self.events, strict=True))
        rows += [(line.nanoseconds // 1000, line) for line in self.lines]
        rows += [(record.at, record) for record in self.kernel]
        return iter(sorted(rows, key=lambda row: row[0]))


def _micros(text: str) -> int:
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return round(at.timestamp()) * 1_000_000 + int(fraction.ljust(6, "0")[:6] or 0)


def _stamp(micros: int) -> str:
    return (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def _object(record: Mapping[str, Any]) -> dict[str, Any]:
    held = record.get("object")
    return dict(held if isinstance(held, dict) else record)


def _last(record: Mapping[str, Any]) -> str:
    event = _object(record)
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )


def text_of(path: Path) -> str:
    """A file of a capture, plain, `.gz` or `.zst`."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.decode()


def _plain(path: Path) -> str:
    return path.as_posix().removesuffix(".gz").removesuffix(".zst")


@functools.lru_cache(maxsize=2)
def read(folder: Path) -> Recording:
    """The rows of a capture. It must be sound: bad input has tests of its own."""
    settings = YAML(typ="safe", pure=True).load((folder / "capture.yaml").read_text())
    recording = Recording(folder, {name: facts["boot_time"].replace(tzinfo=UTC) for name, facts in settings["nodes"].items()})
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = Path(_plain(path.relative_to(folder))).parts
        if parts[-1] == "kmsg":
            recording.kernel.extend(_kernel(text_of(path), parts[1], recording.nodes[parts[1]]))
        elif parts[-1] == "events.jsonl":
            recording.events.extend(json.loads(line) for line in text_of(path).splitlines())
        elif parts[-1] == "objects.jsonl":
            recording.labels.update(_labels(text_of(path)))
        elif parts[-1].endswith(".log"):
            recording.lines.extend(_lines(text_of(path), parts))
    return recording


def _kernel(text: str, node: str, boot: datetime) -> Iterator[Kernel]:
    since = _micros(boot.isoformat().replace("+00:00", ""))
    for line in text.split("\n"):
        if line and not line.startswith(" "):
            head, message = line.split(";", 1)
            prio, _, usec, *_ = head.split(",")
            yield Kernel(since + int(usec), node, int(prio), int(usec), message)


def _lines(text: str, parts: tuple[str, ...]) -> Iterator[Line]:
    namespace, pod, uid = parts[-3].split("_")
    for line in text.split("\n"):
        if line:
            at, output, tag, *rest = line.split(" ", 3)
            yield Line(
                at, parts[1], namespace, pod, uid, parts[-2], parts[-1].removesuffix(".log"), output, tag, rest[0] if rest else ""
            )


def _labels(text: str) -> Iterator[tuple[tuple[str, str], dict[str, str]]]:
    for line in text.splitlines():
        held = json.loads(line)["object"]
        if held["kind"] == "Pod":
            yield (held["metadata"]["namespace"], held["metadata"]["name"]), held["metadata"].get("labels") or {}


# ---- writing: what stays in files


def begin(recording: Recording, target: Path, *keep: str) -> None:
    """The files that a shape leaves as they are: capture.yaml, topology, counters, and those of `keep` (ends of names)."""
    kept = ("capture.yaml", "objects.jsonl", "proc.jsonl", *keep)
    for path in recording.folder.rglob("*"):
        if path.is_file() and _plain(path).endswith(kept):
            place = target / path.relative_to(recording.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _put(target: Path, name: str, lines: Iterable[str]) -> None:
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def compressed(recording: Recording, target: Path, *, suffix: str) -> None:
    """Every file as `.gz` or `.zst`, in two members or frames: loggers append to compressed files."""
    for path in sorted(path for path in recording.folder.rglob("*") if path.is_file()):
        place = target / (_plain(path.relative_to(recording.folder)) + ("" if path.suffix == ".yaml" else suffix))
        place.parent.mkdir(parents=True, exist_ok=True)
        data = text_of(path).encode()
        half = len(data) // 2
        pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[
            suffix if path.suffix != ".yaml" else ""
        ]
        place.write_bytes(pack(data[:half]) + pack(data[half:]))


def cri(recording: Recording, target: Path, *, hours: int = 0, parts: bool = False) -> None:
    """CRI files with times of another zone, or with long lines cut into parts."""
    begin(recording, target, "kmsg", "events.jsonl")
    for (node, path), lines in groupby(recording.lines, key=lambda line: (line.node, line.path)):
        rows = (piece for line in lines for piece in (cut(line) if parts else [line]))
        _put(target, f"nodes/{node}{path}", (f"{_zoned(row.at, hours)} {row.output} {row.tag} {row.text}" for row in rows))


def _zoned(at: str, hours: int) -> str:
    seconds, _, fraction = at.removesuffix("Z").partition(".")
    moved = datetime.fromisoformat(seconds) + timedelta(hours=hours)
    return f"{moved.isoformat()}.{fraction}{hours:+03d}:00"


def cut(line: Line) -> list[Line]:
    """A long line as the runtime cuts it, at a size of its own; the parts follow each other by a microsecond."""
    if len(line.text) < SHORTEST:
        return [line]
    size = 20 + len(line.text) % 37
    texts = [line.text[at : at + size] for at in range(0, len(line.text), size)]
    last = len(texts) - 1
    stamps = (_stamp(line.nanoseconds // 1000 + number) for number in range(1, len(texts)))
    return [
        replace(line, at=at, tag="F" if number == last else "P", text=text)
        for number, (at, text) in enumerate(zip([line.at, *stamps], texts, strict=True))
    ]


def journal(recording: Recording, target: Path) -> None:
    """Kernel records as `journalctl -o json` of each node."""
    begin(recording, target, ".log", "events.jsonl")
    for node in recording.nodes:
        _put(target, f"nodes/{node}/journal.jsonl", (json.dumps(journal_record(r)) for r in recording.kernel if r.node == node))


def journal_record(record: Kernel) -> dict[str, str]:
    """A kernel record as the journal has it."""
    return {
        "__CURSOR": f"s=a063;i={record.usec:x};b=b03e",
        "__REALTIME_TIMESTAMP": str(record.at),
        "__MONOTONIC_TIMESTAMP": str(record.usec),
        "_TRANSPORT": "kernel",
        "PRIORITY": str(record.prio & 7),
        "SYSLOG_FACILITY": str(record.prio >> 3),
        "SYSLOG_IDENTIFIER": "kernel",
        "_SOURCE_MONOTONIC_TIMESTAMP": str(record.usec),
        "_HOSTNAME": record.node,
        "MESSAGE": record.text,
    }


def events(recording: Recording, target: Path, *, change: Callable[[dict[str, Any]], dict[str, Any]], watched: bool) -> None:
    """Events in another spelling, bare or as records of a watch."""
    begin(recording, target, "kmsg", ".log")
    records = (r for r in recording.events if watched or r.get("type") != "DELETED")
    spelt = ((record.get("type", "ADDED") if "object" in record else "ADDED", change(_object(record))) for record in records)
    _put(
        target,
        "cluster/events.jsonl",
        (json.dumps({"type": kind, "object": event} if watched else event) for kind, event in spelt),
    )


_NEW = {
    "involvedObject": "regarding", "message": "note", "source": "deprecatedSource", "count": "deprecatedCount",
    "firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp", "reportingComponent": "reportingController",
}  # fmt: skip


def new_api(event: dict[str, Any]) -> dict[str, Any]:
    """A core/v1 Event as events.k8s.io/v1 gives it."""
    return {**{_NEW.get(key, key): value for key, value in event.items()}, "apiVersion": "events.k8s.io/v1"}


def series(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a reporter of the new API writes it: no legacy times, repetitions as a series."""
    made = new_api(event)
    count, first, last = (made.pop(f"deprecated{key}", None) for key in ("Count", "FirstTimestamp", "LastTimestamp"))
    made["eventTime"] = made.get("eventTime") or (first or last).replace("Z", ".000000Z")
    if (count or 1) > 1:
        made["series"] = {"count": count, "lastObservedTime": last.replace("Z", ".000000Z")}
    return made


# ---- writing: what a shipper sends


def ship(recording: Recording, target: Path, *, shipper: "Shipper", parts: bool = False, body: int = 0) -> None:
    """Everything a shipper carries as one topic; with `body`, that many records a push body."""
    carried = {Line: shipper.line, Kernel: shipper.kernel, dict: shipper.event}
    begin(recording, target, *(name for name, how in (("kmsg", shipper.kernel), ("events.jsonl", shipper.event)) if how is None))
    made: list[dict[str, Any]] = []
    for at, row in recording.shipped():
        give = carried[type(row)]
        pieces = cut(row) if parts and isinstance(row, Line) else [row]
        made.extend(give(piece, recording, at) for piece in pieces if give is not None)  # type: ignore[operator]
    if not body:
        _put(target, f"streams/{shipper.name}.jsonl", (json.dumps(record, ensure_ascii=False) for record in made))
        return
    requests = (shipper.push(made[at : at + body]) for at in range(0, len(made), body))
    _put(target, f"streams/{shipper.name}.jsonl", (json.dumps(request, ensure_ascii=False) for request in requests))


@dataclass(frozen=True, slots=True)
class Shipper:
    """How a shipper writes a container's line, a kernel record and an event (None: it carries none), and a push body."""

    name: str
    line: Callable[[Line, Recording, int], dict[str, Any]]
    kernel: Callable[[Kernel, Recording, int], dict[str, Any]] | None = None
    event: Callable[[dict[str, Any], Recording, int], dict[str, Any]] | None = None
    push: Callable[[list[dict[str, Any]]], Any] = list
