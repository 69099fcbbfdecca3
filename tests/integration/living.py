"""An outage that happens to a running `headwater run`: a recording's rows are written to files, moment by moment, as they came.

`Outage` writes; `Service` is the process, started, ended and killed as a machine would; `told` and `kept` are what came of it.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import contracts
from pipeline.contracts.store import Query
from pipeline.model import linetime
from pipeline.model.stream import Stream
from tests.components import rewrap

PATIENCE = 60.0
"""Seconds that anything may take before a test gives up."""
END = 7200
"""Seconds after the last row at which a last sign of every container ends whatever is open."""
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Row:
    """One record, when it was written (microseconds) and into which file."""

    at: int
    path: str
    data: bytes


@dataclass(slots=True)
class Outage:
    """The rows of a recording in order of time, and the folder into which they are written."""

    folder: Path
    rows: list[Row]
    written: int = 0

    @classmethod
    def of(cls, recording: Path, scratch: Path, folder: Path) -> "Outage":
        """The kernel's records become the journal's, which carry their time."""
        rewrap.journal(rewrap.read(recording), scratch)
        rows: list[Row] = []
        for path in sorted(scratch.rglob("*")):
            if path.is_file() and path.suffix != ".yaml":
                rows += _rows(path, path.relative_to(scratch).as_posix().removesuffix(".gz"))
        rows.sort(key=lambda row: row.at)
        return cls(folder, rows + _signs(rows))

    def write(self, number: int) -> None:
        """The next so many rows."""
        for row in self.rows[self.written : self.written + number]:
            place = self.folder / row.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("ab") as file:
                file.write(row.data)
        self.written += number

    @property
    def over(self) -> bool:
        """Whether all is written."""
        return self.written >= len(self.rows)


def _rows(path: Path, name: str) -> Iterable[Row]:
    at = 0
    stream = Stream("", format=_format(name), envelope="cri" if name.endswith(".log") else None)
    for line in rewrap.text_of(path).splitlines(keepends=True):
        data = line.encode()
        at = max(at, linetime.of(data, stream) or 0)
        yield Row(at, name, data)


def _format(name: str) -> str | None:
    known = {"events.jsonl": "k8s.events", "objects.jsonl": "k8s.objects", "proc.jsonl": "counters"}
    return known.get(name.rpartition("/")[2])


def _signs(rows: Sequence[Row]) -> list[Row]:
    at = rows[-1].at + END * 1_000_000
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at / 1e6))
    names = sorted({row.path for row in rows if row.path.endswith(".log")})
    return [Row(at, name, f"{stamp}.000000000Z stdout F a sign of life\n".encode()) for name in names]


def settings(outage: Outage, state: Path, sinks: Mapping[str, Any], route: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A configuration that follows every file of an outage."""
    folder = outage.folder
    nodes = sorted({row.path.split("/")[1] for row in outage.rows if row.path.startswith("nodes/")})
    sources: list[dict[str, Any]] = []
    for node in nodes:
        here = folder / "nodes" / node
        sources.append({"type": "file", "name": f"{node}-pods", "paths": [f"{here}/var/log/pods/"], "node": node})
        journal = {"paths": [f"{here}/journal.jsonl"], "envelope": "journald", "node": node}
        sources.append({"type": "file", "name": f"{node}-journal", **journal})
        sources.append(
            {"type": "file", "name": f"{node}-proc", "paths": [f"{here}/proc.jsonl"], "format": "counters", "node": node}
        )
    for_cluster = ((name, f"{folder}/cluster/{name}.jsonl") for name in ("events", "objects"))
    sources += [{"type": "file", "name": name, "paths": [path], "format": f"k8s.{name}"} for name, path in for_cluster]
    every = {"start": "beginning"} | more
    return {
        "cluster": "lab",
        "state": str(state),
        "listen": "127.0.0.1:0",
        "sources": [source | every for source in sources],
        "sinks": dict(sinks),
        "route": dict(route),
    }


@dataclass(slots=True)
class Service:
    """`headwater run` as a process."""

    config: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    said: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> "Service":
        path = folder / "headwater.yaml"
        path.write_text(json.dumps(config))
        return cls(path, environ or {})

    def start(self) -> None:
        """Start it; its log goes on in one file."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli.main", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            )

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = 10.0) -> int:
        """SIGTERM; its exit status. It must not take longer than `seconds`."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds + 5)

    def close(self) -> None:
        """Nothing of it stays, however a test ended."""
        if self.process and self.process.poll() is None:
            self.kill()


def ready(service: Service, seconds: float = PATIENCE) -> str:
    """Wait until it has caught up; its address."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert service.process
        assert service.process.poll() is None, service.log.read_text()
        address = re.findall(r"address=(http://\S+)", service.log.read_text())
        with contextlib.suppress(OSError):
            if address and urllib.request.urlopen(f"{address[-1]}/readyz", timeout=5).status == 200:
                return str(address[-1])
        time.sleep(0.02)
    raise TimeoutError(service.log.read_text())


def told(requests: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """The final state of each root incident's notifications to a webhook, repeats of one key left out."""
    final: dict[str, tuple[Any, ...]] = {}
    seen: set[str] = set()
    for request in requests:
        key = request.headers["webhook-id"]
        if key not in seen:
            seen.add(key)
            data = request.json["data"]
            final[data["id"]] = (
                request.json["type"],
                data["signature"],
                data["started"],
                data["ended"],
                data["evidence"]["rows"],
            )
    return final


def kept(state: Path) -> list[tuple[Any, ...]]:
    """The incidents of the store, with what they stand on."""
    module = contracts.find("stores", "sqlite")
    with contextlib.closing(module.create(module.Settings(), contracts.Context("lab", state, "store"))) as store:
        found = [stored.incident for stored in store.incidents(Query(limit=1000)) if stored.merged_into is None]
    keys = ("id", "signature", "status", "started", "ended", "cause")
    return sorted((*(str(one[key]) for key in keys), one["evidence"]["rows"]) for one in found)
