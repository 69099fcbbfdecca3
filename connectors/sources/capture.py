"""A recorded outage as a folder: which files there are, what stream each one is, and their bytes, whole records at a time.

Guarantee: every byte of every known file is given once, in file order; what cannot be read is noted in `troubles` and the rest
goes on. Plain, `.gz` and `.zst` files. Symbolic links that lead out of the folder are not followed. The layout:

    capture.yaml                     cluster, nodes with boot_time and zone
    cluster/events.jsonl             Kubernetes events
    cluster/objects.jsonl            topology
    nodes/<node>/kmsg                kernel records
    nodes/<node>/journal.jsonl       journald
    nodes/<node>/proc.jsonl          counters
    nodes/<node>/var/log/pods/<ns>_<pod>_<uid>/<container>/<n>.log
    streams/<name>.jsonl             what a log shipper delivered

As a source, the files are merged by time and given at a chosen speed. Where a recording says nothing for more than `GAP`
seconds, the pause is left out.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from connectors.compressed import zstd
from pipeline.contracts import Context
from pipeline.contracts.source import Position, SourceStatus, Trouble
from pipeline.errors import CaptureError, ConfigError, SourceError
from pipeline.model import linetime
from pipeline.model.stream import RawBatch, Stream

BLOCK = 8 << 20
LONGEST = 32 << 20
"""Bytes without a line break after which a line is cut: memory must stay bounded whatever the file holds."""
GAP = 60.0
FOREVER = 2**62
_POD = re.compile(
    r"nodes/(?P<node>[^/]+)/var/log/pods/(?P<namespace>[^_/]+)_(?P<pod>[^_/]+)_(?P<uid>[^/]+)/(?P<container>[^/]+)/[^/]+\.log[^/]*$"
)
_NODE_FILES = {
    "kmsg": ("kmsg", "kernel"),
    "journal.jsonl": ("journald", None),
    "proc.jsonl": (None, "counters"),
}
_IGNORED = frozenset({"capture.yaml", "expect.yaml", "README.md"})
_READING = (OSError, EOFError, zlib.error, zstandard.ZstdError)


@dataclass(slots=True)
class File:
    """One file of a capture."""

    path: Path
    stream: Stream


@dataclass(slots=True)
class Capture:
    """A capture folder. `troubles` are one line each, for people, filled while it is read."""

    root: Path
    cluster: str
    title: str
    nodes: Mapping[str, Mapping[str, Any]]
    files: list[File]
    troubles: list[str] = field(default_factory=list)

    def read(self, file: File, *, block: int = BLOCK) -> Iterator[RawBatch]:
        """The file in blocks of whole records of about `block` bytes."""
        try:
            with _open(file.path) as handle:
                yield from self._blocks(file, handle, block)
        except _READING as error:
            self._trouble(file, f"{_why(error)}; what came before it was read")

    def topology(self) -> list[RawBatch]:
        """The nodes that capture.yaml names, as objects: it may be all that says which zone they are in."""
        records = []
        for name, facts in self.nodes.items():
            boot = facts.get("boot_time")
            at = boot.isoformat() if isinstance(boot, datetime) else str(boot or "1970-01-01T00:00:00Z")
            labels = {"topology.kubernetes.io/zone": facts["zone"]} if facts.get("zone") else {}
            node = {"kind": "Node", "metadata": {"name": name, "labels": labels}}
            records.append(json.dumps({"at": at, "type": "ADDED", "object": node}))
        data = "".join(f"{record}\n" for record in records).encode()
        return [RawBatch(Stream("capture.yaml", None, "k8s.objects"), data)] if records else []

    def _blocks(self, file: File, handle: IO[bytes] | gzip.GzipFile, block: int) -> Iterator[RawBatch]:
        rest, offset = b"", 0
        while True:
            try:
                data = handle.read(block)
            except _READING as error:
                self._trouble(file, f"{_why(error)}; what came before it was read")
                data = b""
            if not data:
                break
            data = rest + data if rest else data
            cut = _record_end(data, kernel=file.stream.envelope == "kmsg")
            if cut == 0 and len(data) < LONGEST:
                rest = data
                continue
            if cut == 0:
                self._trouble(file, f"a line of more than {LONGEST >> 20} MiB at byte {offset} was cut")
                cut = len(data)
            ready, rest = [RawBatch(file.stream, data[:cut], offset)], data[cut:]
            offset += cut
            del data
            yield ready.pop()  # nothing of a block stays here while the generator waits, and there is one for every file
        if rest:
            yield RawBatch(file.stream, rest, offset)

    def _trouble(self, file: File, text: str) -> None:
        self.troubles.append(f"{file.path.relative_to(self.root)}: {text}")


def _why(error: BaseException) -> str:
    kind = (
        "is cut or damaged"
        if isinstance(error, EOFError | zlib.error | zstandard.ZstdError | gzip.BadGzipFile)
        else "cannot be read"
    )
    return f"{kind} ({error})"


def _record_end(data: bytes, *, kernel: bool) -> int:
    """Where the last whole record ends; a kernel record ends only where the next line does not continue it."""
    cut = data.rfind(b"\n") + 1
    if not kernel:
        return cut
    before = data.rfind(b"\n", 0, max(cut - 1, 0)) + 1
    while before and data[before : before + 1] == b" ":
        before = data.rfind(b"\n", 0, before - 1) + 1
    return before


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rb")
    if path.name.endswith(".zst"):
        return zstd(path.open("rb"))
    return path.open("rb")


def open_capture(root: Path) -> Capture:
    """The capture in a folder. Raises CaptureError where there is none."""
    if not root.is_dir():
        raise CaptureError(f"reading the capture {root}: there is no such folder; name one that holds capture.yaml")
    troubles: list[str] = []
    settings = _settings(root, troubles)
    cluster = settings.get("cluster")
    if cluster is not None and not isinstance(cluster, str | int):
        troubles.append("capture.yaml: `cluster` is no name, ignored")
        cluster = None
    capture = Capture(
        root, str(cluster or ""), str(settings.get("title") or root.name), _node_facts(settings, troubles), [], troubles
    )
    for path in _walk(root, capture):
        stream = stream_of(path.relative_to(root).as_posix(), capture)
        if stream is not None:
            capture.files.append(File(path, stream))
        elif path.relative_to(root).as_posix() not in _IGNORED:
            capture.troubles.append(f"{path.relative_to(root)}: not part of a capture's layout, ignored")
    if not capture.files:
        raise CaptureError(f"reading the capture {root}: it holds nothing to read; see the layout of captures in the README")
    return capture


def _settings(root: Path, troubles: list[str]) -> dict[str, Any]:
    path = root / "capture.yaml"
    if not path.exists():
        troubles.append("capture.yaml: there is none, so the cluster's name and the boot times of the nodes are unknown")
        return {}
    try:
        loaded = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise CaptureError(f"reading the capture {root}: {path}:{line}: {' '.join(str(error).split())}; mend the file") from error
    if isinstance(loaded, dict):
        return loaded
    troubles.append("capture.yaml: it is no map, ignored")
    return {}


def _node_facts(settings: Mapping[str, Any], troubles: list[str]) -> dict[str, dict[str, Any]]:
    """The nodes that capture.yaml names, with what is known of each."""
    nodes = settings.get("nodes")
    if not isinstance(nodes, dict):
        if nodes is not None:
            troubles.append("capture.yaml: `nodes` is no map of names, ignored")
        return {}
    for name, facts in nodes.items():
        if not isinstance(facts, dict | None):
            troubles.append(f"capture.yaml: node {name} should have boot_time and zone, ignored")
    return {str(name): facts if isinstance(facts, dict) else {} for name, facts in nodes.items()}


def _walk(root: Path, capture: Capture) -> Iterator[Path]:
    inside = root.resolve()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in [*folders, *sorted(names)]:
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                capture.troubles.append(f"{path.relative_to(root)}: a link that leads out of the capture, not followed")
            elif path.is_file():
                yield path


def stream_of(relative: str, capture: Capture) -> Stream | None:
    """The stream of a file by its place below the capture; None where it has none."""
    plain = re.sub(r"\.(gz|zst)$", "", relative)
    if match := _POD.match(plain):
        return Stream(
            id=plain, envelope="cri", cluster=capture.cluster or None, node=match["node"], namespace=match["namespace"],
            pod=match["pod"], pod_uid=match["uid"], container=match["container"],
        )  # fmt: skip
    parts = plain.split("/")
    if len(parts) == 3 and parts[0] == "nodes" and parts[2] in _NODE_FILES:  # noqa: PLR2004 (nodes/<node>/<file>)
        envelope, fmt = _NODE_FILES[parts[2]]
        return Stream(plain, envelope, fmt, cluster=capture.cluster or None, node=parts[1], boot_time=_boot(capture, parts[1]))
    if plain == "cluster/events.jsonl":
        return Stream(plain, "plain", "k8s.events", cluster=capture.cluster or None)
    if plain == "cluster/objects.jsonl":
        return Stream(plain, None, "k8s.objects", cluster=capture.cluster or None)
    if len(parts) == 2 and parts[0] == "streams" and parts[1].endswith(".jsonl"):  # noqa: PLR2004 (streams/<file>)
        return Stream(plain, cluster=capture.cluster or None)
    return None


def _boot(capture: Capture, node: str) -> datetime | None:
    value = capture.nodes.get(node, {}).get("boot_time")
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.replace("Z", "+00:00")))
        except ValueError:
            capture.troubles.append(f"capture.yaml: boot_time of {node} is no RFC 3339 time: {value}")
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


class Settings(BaseModel):
    """Which recording, and how fast: 1 as it was recorded, 0 as fast as it can be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    speed: float = Field(1.0, ge=0)


@dataclass(slots=True)
class _Cursor:
    """A file while it is given out: the block at hand, up to which time it is known, and how many bytes were given."""

    stream: Stream
    open: Callable[[int], Iterator[RawBatch]]
    given: int = 0
    last: int = 0
    batch: RawBatch | None = None
    done: bool = False
    _blocks: Iterator[RawBatch] | None = None

    def fill(self, block: int) -> None:
        """Have a block at hand, if there is one. What was given before is passed over."""
        if self._blocks is None:
            self._blocks = self.open(block)
        while self.batch is None and not self.done:
            batch = next(self._blocks, None)
            self.done = batch is None
            if batch is not None and batch.offset + len(batch.data) > self.given:
                passed = max(0, self.given - batch.offset)
                self.batch = RawBatch(batch.stream, batch.data[passed:], batch.offset + passed)
                self.last = max(self.last, linetime.last(self.batch) or self.last)

    def take(self, horizon: int) -> RawBatch | None:
        """The records up to a time."""
        batch = self.batch
        if batch is None:
            return None
        at = len(batch.data) if self.last <= horizon else linetime.split(batch, horizon)
        self.batch = RawBatch(batch.stream, batch.data[at:], batch.offset + at) if at < len(batch.data) else None
        self.given = batch.offset + at
        return RawBatch(batch.stream, batch.data[:at], batch.offset) if at else None


class Recorded:
    """A capture as a source."""

    rereadable = True
    live = False

    def __init__(self, capture: Capture, speed: float) -> None:
        self._capture, self._speed = capture, speed
        self._told = 0
        self._reset({})

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """The records whose time has come, of all files up to the same time."""
        self._more = False
        if budget <= 0:
            return []
        block = min(BLOCK, max(64 << 10, budget // len(self._cursors)))
        for cursor in self._cursors:
            cursor.fill(block)
        ahead = [cursor for cursor in self._cursors if cursor.batch]
        if not ahead:
            return []
        slowest = min(ahead, key=lambda cursor: cursor.last)
        horizon = min(slowest.last, self._paced(ahead, now))
        given = [batch for cursor in ahead if (batch := cursor.take(horizon))]
        self._more = sum(len(batch.data) for batch in given) >= budget // 2
        return given

    def more(self) -> bool:
        """Whether it gave much at once: what a recording has is read as it was written, and a short one has no backlog."""
        return self._more

    def position(self) -> Position:
        """The bytes given of each file."""
        return {"files": {cursor.stream.id: cursor.given for cursor in self._cursors if cursor.given}}

    def seek(self, position: Position) -> None:
        """Go on there."""
        given = position.get("files")
        if not isinstance(given, dict) or not all(isinstance(number, int) for number in given.values()):
            raise SourceError(
                f"going on with the capture {self._capture.root}: {dict(position)} is no position of it; begin anew"
            )
        self._reset(given)

    def commit(self, position: Position) -> None:
        """A recording stays."""

    def troubles(self) -> Sequence[Trouble]:
        """What could not be read."""
        found, self._told = self._capture.troubles[self._told :], len(self._capture.troubles)
        return [Trouble("unreadable", str(self._capture.root), text) for text in found]

    def status(self) -> SourceStatus:
        """Alive until its end."""
        return SourceStatus(not self.finished(), None, len(self._cursors))

    def finished(self) -> bool:
        """Whether all was given."""
        return all(cursor.done and not cursor.batch for cursor in self._cursors)

    def close(self) -> None:
        """Let the files go."""
        self._reset({})

    def _reset(self, given: Mapping[str, int]) -> None:
        self._anchor: tuple[float, int] | None = None
        self._more = False
        readers = [(batch.stream, _once(batch)) for batch in self._capture.topology()]
        readers += [(file.stream, _reader(self._capture, file)) for file in self._capture.files]
        self._cursors = [_Cursor(stream, read, given.get(stream.id, 0)) for stream, read in readers]

    def _paced(self, ahead: Sequence[_Cursor], now: float) -> int:
        """The time that the recording has come to."""
        if not self._speed:
            return FOREVER
        following = min((linetime.first(cursor.batch) or 0) for cursor in ahead if cursor.batch)
        if self._anchor is None:
            self._anchor = (now, following)
        begun, at = self._anchor
        reached = at + round((now - begun) * self._speed * 1e6)
        if following > reached + GAP * 1e6:
            self._anchor, reached = (now, following), following
        return reached


def _once(batch: RawBatch) -> Callable[[int], Iterator[RawBatch]]:
    return lambda _: iter([batch])


def _reader(capture: Capture, file: File) -> Callable[[int], Iterator[RawBatch]]:
    return lambda block: capture.read(file, block=block)


def create(settings: Settings, context: Context) -> Recorded:
    """Play a recording. Raises ConfigError where there is none."""
    try:
        return Recorded(open_capture(settings.path), settings.speed)
    except CaptureError as error:
        raise ConfigError(f"{context.name}: {error}") from error
