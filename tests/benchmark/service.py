"""`python -m tests.benchmark.service`: the running service. Lines from files to incidents beside the same through `replay`, the time
from a line to a webhook, what an idle service costs, how long a start takes, and what a checkpoint costs.

Throughput is measured in a process of its own on one core; times of the service are those of `headwater run` as a process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import config as configuration
from tests.benchmark import corpus, store
from tests.components import receiver
from tests.integration import living

HEALTHY = Path(__file__).resolve().parents[1] / "captures" / "healthy-rollouts"
RECORDING = HEALTHY.with_name("conntrack-table-full")
PATIENCE = 120.0
_LINE = json.dumps({"_TRANSPORT": "kernel", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "kernel", "__REALTIME_TIMESTAMP": "@time",
                    "_HOSTNAME": "@node", "MESSAGE": "nf_conntrack: nf_conntrack: table full, dropping packet"})  # fmt: skip


def main() -> None:
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.service", description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--notifications", type=int, default=200)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to watch an idle service")
    parser.add_argument("--keys", type=int, default=100_000, help="open keys in a checkpoint")
    parser.add_argument("--evidence", type=int, default=1_000_000, help="evidence rows in the store at a start")
    parser.add_argument(
        "--task", nargs=2, metavar=("NAME", "FOLDER"), help="for the measurement itself: one task in this process"
    )
    arguments = parser.parse_args()
    if arguments.task:
        name, folder = arguments.task
        print(json.dumps({"follow": follow, "keep": keep, "replay": replay}[name](Path(folder))))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        folder = Path(scratch)
        _throughput(folder / "lines", arguments.lines, arguments.repeats)
        _latency(folder / "latency", arguments.notifications)
        _idle(folder / "idle", arguments.idle)
        _start(folder / "start", arguments.evidence)
        _checkpoint(folder / "keys", arguments.keys, arguments.repeats)


def _throughput(folder: Path, lines: int, repeats: int) -> None:
    folder.mkdir()
    size = corpus.write(HEALTHY, folder, lines)
    print(f"{lines:,} lines, {size / lines:.0f} bytes a line, one core, process time, medians of {repeats}\n")
    print("| | lines/s of process time | lines/s of the clock | peak MiB |\n|---|---|---|---|")
    found = {name: [_task(name, folder) for _ in range(repeats)] for name in ("replay", "follow", "keep")}
    labels = {"replay": "`replay`", "follow": "followed files to incident", "keep": "the same through segments (`keep: true`)"}
    for name, runs in found.items():
        cpu, wall, memory = (statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "mebibytes"))
        print(f"| {labels[name]} | {lines / cpu:,.0f} | {lines / wall:,.0f} | {memory:.0f} |")
    print()


def _task(name: str, folder: Path) -> dict[str, float]:
    core = str(max(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "tests.benchmark.service", "--task", name, str(folder)]
    ran = subprocess.run(["taskset", "-c", core, *command], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _measured(work: Callable[[], object]) -> dict[str, float]:
    import resource

    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def replay(folder: Path) -> dict[str, float]:
    """The corpus as a capture."""
    from pipeline import parsers
    from pipeline.runtime import replay as replaying
    from pipeline.signatures import load

    ruleset = load.load(parsers.vocabulary())
    return _measured(lambda: replaying.run(folder, ruleset))


def follow(folder: Path) -> dict[str, float]:
    """The corpus as files that are followed from their beginning."""
    return _served(folder, keep=False)


def keep(folder: Path) -> dict[str, float]:
    """The same through the log."""
    return _served(folder, keep=True)


def _served(folder: Path, *, keep: bool) -> dict[str, float]:
    from pipeline.runtime import memory, wiring

    memory.keep_blocks()
    with tempfile.TemporaryDirectory(prefix="headwater-bench-state-") as state:
        path = Path(state) / "headwater.yaml"
        sources = [
            {"type": "file", "name": node, "paths": [f"{folder}/nodes/{node}/"], "node": node, "start": "beginning", "keep": keep}
            for node in ("node-a", "node-b", "node-c")
        ]
        objects = {"type": "file", "name": "objects", "paths": [f"{folder}/cluster/objects.jsonl"], "format": "k8s.objects"}
        sources.append({**objects, "start": "beginning"})
        path.write_text(json.dumps({"cluster": "bench", "state": state, "listen": "127.0.0.1:0", "sources": sources}))
        with wiring.opened(configuration.load(path, {})) as service:

            def work() -> None:
                while not service.caught_up:
                    service.turn(time.monotonic(), time.time())
                service.turn(time.monotonic(), time.time())

            return _measured(work)


@contextmanager
def _running(folder: Path, config: dict[str, Any]) -> Iterator[living.Service]:
    """A service as a process, ready."""
    folder.mkdir(exist_ok=True)
    service = living.Service.of(folder, config)
    service.start()
    try:
        living.until(service.ready, "the service is ready")
        yield service
    finally:
        service.end()
        service.close()


def _config(folder: Path, **more: Any) -> dict[str, Any]:
    journal = folder / "journal.jsonl"
    folder.mkdir(exist_ok=True)
    journal.touch()
    source = {"type": "file", "name": "journal", "paths": [str(journal)], "envelope": "journald", "start": "beginning"}
    return {"cluster": "bench", "state": str(folder / "state"), "listen": "127.0.0.1:0", "sources": [source], **more}


def _latency(folder: Path, repeats: int) -> None:
    """A line is written; when does the webhook hear of the incident? Each is of another node, so each is another incident."""
    with receiver.running() as heard:
        sinks = {"hook": {"type": "webhook", "url": f"{heard.url}/hook"}}
        config = _config(folder, sinks=sinks, route={"receiver": "hook", "group_wait": "0s"})
        with _running(folder, config):
            taken = [_told(folder / "journal.jsonl", heard, number) for number in range(repeats)]
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[min(len(taken) - 1, round(len(taken) * 0.99))]
    print(f"line written to webhook received, {repeats} times: median {p50:.3f} s, p99 {p99:.3f} s, longest {taken[-1]:.3f} s\n")


def _told(journal: Path, heard: receiver.Receiver, number: int) -> float:
    node = f"node-{number}"
    begun = time.time()
    with journal.open("a") as file:
        for at in range(3):
            file.write(_LINE.replace("@time", str(round(begun * 1e6) + at)).replace("@node", node) + "\n")
    until = begun + PATIENCE
    while not any(node in str(request.json["data"].get("group")) for request in heard.requests[number:]):
        if time.time() > until:
            raise TimeoutError(f"nothing was said of {node} in {PATIENCE} s")
        time.sleep(0.002)
    return time.time() - begun


def _idle(folder: Path, seconds: float) -> None:
    with _running(folder, _config(folder)) as service:
        assert service.process
        time.sleep(5)
        before, began = _cpu(service.process.pid), time.monotonic()
        time.sleep(seconds)
        share = (_cpu(service.process.pid) - before) / (time.monotonic() - began)
        memory = Path(f"/proc/{service.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    print(f"idle for {seconds:.0f} s: {share:.2%} of a core, {int(memory) / 1024:.0f} MiB\n")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _start(folder: Path, lines: int) -> None:
    config = _config(folder)
    state = Path(config["state"])
    state.mkdir()
    kept = store.opened(state)
    batch = []
    for record in store.records(lines):
        batch.append(record)
        if len(batch) == 500:
            kept.save(batch, 0)
            batch = []
    kept.save(batch, 0)
    kept.close()
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        with _running(folder, config):
            taken.append(time.perf_counter() - begun)
    print(f"start to ready with {lines:,} evidence rows in the store: median {statistics.median(taken):.2f} s of {len(taken)}\n")


def _checkpoint(folder: Path, keys: int, repeats: int) -> None:
    """Failed look-ups of so many clients within an hour, none of whom has an incident; then checkpoints."""
    from pipeline.runtime import wiring

    log = folder / "pods" / "kube-system_coredns-1_u" / "coredns" / "0.log"
    log.parent.mkdir(parents=True)
    begun = time.time() - 3600
    with log.open("w") as file:
        for number in range(keys):
            at = datetime.fromtimestamp(begun + number * 3600 / keys, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            client = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            file.write(
                f'{at} stdout F [INFO] {client}:40133 - 4 "A IN a.example. udp 61 false 1232" SERVFAIL qr,aa 143 0.0001s\n'
            )
    source = {"type": "file", "paths": [f"{folder}/pods/"], "start": "beginning"}
    path = folder / "headwater.yaml"
    path.write_text(json.dumps({"cluster": "bench", "state": f"{folder}/state", "listen": "127.0.0.1:0", "sources": [source]}))
    with wiring.opened(configuration.load(path, {})) as service:
        while not service.caught_up:
            service.turn(time.monotonic(), time.time())
        taken = []
        for _ in range(repeats):
            service.save(time.monotonic(), wait=True)
            taken.append(service.saver.last)
    still, cost = (statistics.median(getattr(saved, name) for saved in taken) for name in ("still", "cost"))
    print(f"checkpoint with {keys:,} open keys, {taken[-1].size / 2**20:.0f} MiB: median {cost:.3f} s, "
          f"of which reading stands still {still:.3f} s")  # fmt: skip


if __name__ == "__main__":
    main()
