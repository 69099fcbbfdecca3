"""An outage that happens to a running `headwater run`: a recording's rows are written to files, moment by moment, as they came.

`Outage` writes; `Service` is the process, started, ended and killed as a machine would; `told` and `kept` are what came of it.
"""

import contextlib
import functools
import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import config as configuration
from pipeline import contracts
from pipeline.contracts.store import Query
from pipeline.model import linetime
from pipeline.model.stream import Stream
from pipeline.runtime import service as runtime
from pipeline.runtime import wiring
from pipeline.runtime.outbox import Outbox
from pipeline.runtime.troubles import log
from tests.components import receiver, rewrap

PATIENCE = float(os.environ.get("HEADWATER_PATIENCE", "40"))
"""Seconds that anything may take before a test gives up."""
END = 7200
"""Seconds after the last row at which a last sign of every container ends whatever is open."""
STEPS, STEP = 10, 20.0
"""Steps in which a recording is written where the test owns the clock, and seconds of each."""
START = 1_795_408_800.0
"""Seconds since 1970 at which tests that own the clock begin: in the hour of the recordings."""
OK = 200
ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for something to become true. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what or condition}")
        time.sleep(0.02)


@dataclass(slots=True)
class Row:
    """One record, when it was written (microseconds) and into which file."""

    at: int
    path: str
    data: bytes


@dataclass(slots=True)
class Outage:
    """The rows of a recording in order of time, and the folder into which they are written. `signs` come long after: with them
    everything is over.
    """

    folder: Path
    rows: list[Row]
    signs: list[Row]
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
        return cls(folder, rows, _signs(rows))

    def write(self, number: int) -> None:
        """The next so many rows."""
        self._put(self.rows[self.written : self.written + number])
        self.written += number

    def finish(self) -> None:
        """What is left, and the signs. Whoever looks must have seen the disaster before: one that ended hours ago is no news."""
        self.write(len(self.rows))
        self._put(self.signs)

    def _put(self, rows: Iterable[Row]) -> None:
        for row in rows:
            place = self.folder / row.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("ab") as file:
                file.write(row.data)


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


ROUTE = {"receiver": "hook", "group_wait": "0s", "group_interval": "1s"}


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
    began: int = 0
    """Where in the log the present process begins."""

    @classmethod
    def of(cls, folder: Path, config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> "Service":
        path = folder / "headwater.yaml"
        path.write_text(json.dumps(config))
        return cls(path, environ or {})

    def start(self, stdin: int = subprocess.DEVNULL) -> None:
        """Start it; its log goes on in one file."""
        with self.log.open("ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli.main", "run", "--config", str(self.config)],
                stdin=stdin,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            )

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def said(self) -> str:
        """What the present process has written to its log."""
        return self.log.read_bytes()[self.began :].decode()

    @property
    def address(self) -> str | None:
        """Where the present process listens, `host:port`."""
        found = re.search(r"address=http://([\d.:]+)", self.said())
        return found[1] if found else None

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of its answer over HTTP; (0, "") while it does not listen."""
        if self.address is None:
            return 0, ""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except OSError:
                return 0, ""

    def ready(self) -> bool:
        """Whether the backlog of the start is worked off. An error if the process has ended."""
        assert self.process
        assert self.process.poll() is None, self.said()
        return self.ask("/readyz")[0] == OK

    def report(self) -> Any:
        """What it says of itself."""
        status, body = self.ask("/status")
        assert status == OK, (status, body, self.said())
        return json.loads(body)

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


def told(requests: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The last word of each conversation with a webhook, repeats of one key left out.

    Which conversation a cause is told of in depends on what was known when its symptoms were told, so the threads' names are not
    compared; and those that were folded into another have their last word there.
    """
    final: dict[str, Any] = {}
    seen: set[str] = set()
    for request in requests:
        key = request.headers["webhook-id"]
        if key not in seen:
            seen.add(key)
            final[request.json["data"]["thread"]] = request.json
    return sorted(
        _last_word(said) for said in final.values() if said["type"] != "incident.folded" and said["data"]["layer"] != "headwater"
    )


def _last_word(said: Any) -> tuple[Any, ...]:
    data = said["data"]
    return (said["type"], *(str(data[key]) for key in ("id", "signature", "started", "ended")), data["evidence"]["rows"])


def kept(state: Path) -> list[tuple[Any, ...]]:
    """The incidents of the store, with what they stand on."""
    module = contracts.find("stores", "sqlite")
    with contextlib.closing(module.create(module.Settings(), contracts.Context("lab", state, "store"))) as store:
        found = [stored.incident for stored in store.incidents(Query(limit=1000)) if stored.merged_into is None]
    keys = ("id", "signature", "status", "started", "ended", "cause")
    return sorted((*(str(one[key]) for key in keys), one["evidence"]["rows"]) for one in found)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an outage: the incidents of the store, and the last word about each root."""

    kept: list[tuple[Any, ...]]
    told: list[tuple[Any, ...]]

    @classmethod
    def of(cls, state: Path, requests: Iterable[Any]) -> "Outcome":
        """Without near misses, which come and go with the moment in which one looks, and without what Headwater says of itself,
        for which a slow machine gives it reason.
        """
        rows = [row for row in kept(state) if row[2] != "near_miss" and not row[1].startswith("headwater-")]
        return cls(rows, told(requests))


@dataclass(slots=True)
class Inside:
    """The service in this process, driven by a test's clock."""

    service: runtime.Service
    now: float = 0.0

    def __post_init__(self) -> None:
        parts, clock = self.service.parts, lambda: START + self.now
        self.service.outbox = Outbox(parts.ledger, parts.sinks, say=log.warning, clock=clock, monotonic=lambda: self.now)

    def turn(self, step: int, *, back: float = 0.0) -> None:
        """The turns of a step, and what is to be delivered then; the clock on the wall is `back` seconds behind."""
        for part in (0.0, 7.0, 14.0):
            now = step * STEP + part
            while self.service.turn(now, START + now - back):
                continue
            self.deliver(now)

    def deliver(self, now: float) -> bool:
        """What is due at a time (monotonic seconds); whether anything still waits."""
        self.now = now
        for name in self.service.parts.sinks:
            self.service.outbox.step(name, now)
        return any(status.pending for status in self.service.outbox.status().values())


@dataclass(slots=True)
class Lab:
    """An outage, the service that watches it, and who is told of it."""

    folder: Path
    outage: Outage
    receiver: receiver.Receiver
    config: dict[str, Any]
    service: Service

    @classmethod
    def of(cls, name: str, folder: Path, receiver: receiver.Receiver, **more: Any) -> "Lab":
        """A recording of `tests/captures` whose files are followed with the options `more`."""
        outage = Outage.of(ROOT / "tests" / "captures" / name, folder / "scratch", folder / "logs")
        config = settings(outage, folder / "state", {"hook": {"type": "webhook", "url": f"{receiver.url}/hook"}}, ROUTE, **more)
        return cls(folder, outage, receiver, config, Service.of(folder, config))

    def change(self, **config: Any) -> None:
        """Another configuration, which the next start reads."""
        self.config |= config
        self.service = Service.of(self.folder, self.config, self.service.environ)

    @contextlib.contextmanager
    def inside(self, step: int = 0, *, back: float = 0.0) -> Iterator[Inside]:
        """The service in this process, going on from its last checkpoint; like a kill, the end of it saves nothing."""
        with wiring.opened(configuration.load(self.service.config, {})) as service:
            service.restore(step * STEP, START + step * STEP - back)
            yield Inside(service)
            service.close(0.1)

    def play(
        self, inside: Inside, between: Callable[[], object] = bool, *, steps: range = range(STEPS), back: float = 0.0
    ) -> None:
        """The outage, step by step, with a clock on the wall that is `back` seconds behind; after the last step it is over."""
        for step in steps:
            self.outage.write(self.share(STEPS))
            inside.turn(step, back=back)
            between()
        if steps[-1] == STEPS - 1:
            self.outage.finish()
            inside.turn(STEPS, back=back)

    def share(self, number: int) -> int:
        """Rows in one of so many parts."""
        return math.ceil(len(self.outage.rows) / number)

    def write_until_told(self) -> None:
        """The rows up to the first notification."""

        def written() -> bool:
            self.outage.write(self.share(40))
            return bool(self.receiver.requests)

        until(written, "the first notification")

    @property
    def outcome(self) -> Outcome:
        """What has come of it."""
        return Outcome.of(Path(self.config["state"]), list(self.receiver.requests))

    def settle(self, expected: Outcome) -> None:
        """Write the rest, let the service tell all that it will tell, then end it."""
        self.outage.write(len(self.outage.rows))
        until(self.service.ready, "the end of the backlog")
        until(lambda: self.receiver.requests, "the first notification")
        self.outage.finish()
        with contextlib.suppress(TimeoutError):
            until(lambda: told(list(self.receiver.requests)) == expected.told)
        assert self.service.end() == 0, self.service.said()


@functools.cache
def undisturbed(name: str) -> Outcome:
    """What comes of a recording where nothing goes wrong."""
    with tempfile.TemporaryDirectory() as folder, receiver.running() as hears:
        lab = Lab.of(name, Path(folder), hears)
        with lab.inside() as inside:
            lab.play(inside)
        return lab.outcome
