"""One measurement in a process of its own: prints one JSON object with `seconds` (and what else it has to say)."""

import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.runtime import memory as allocators


def main() -> None:
    """Run the named task on one core."""
    allocators.give_back()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    task, *arguments = sys.argv[1:]
    found = TASKS[task](*arguments)
    found["mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def _files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("nodes/*/var/log/pods/*/*/*.log"))


def _blocks(folder: str, size: int = 8 << 20) -> Iterator[bytes]:
    for path in _files(folder):
        with path.open("rb") as handle:
            rest = b""
            while piece := handle.read(size):
                data = rest + piece
                cut = data.rfind(b"\n") + 1
                yield data[:cut]
                rest = data[cut:]


def _timed(work: Callable[[], object]) -> dict[str, float]:
    begin = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - begin}


def copy(folder: str) -> dict[str, float]:
    """A warm copy of the bytes in memory."""
    blocks = list(_blocks(folder))
    target = bytearray(max(len(block) for block in blocks))

    def work() -> None:
        for block in blocks:
            target[: len(block)] = block

    work()
    return _timed(work)


def phrases(number: int) -> list[str]:
    """So many texts as signatures look for, none of which occurs in the corpus."""
    subjects = (
        "neighbour table",
        "bpf program",
        "route",
        "ipset",
        "endpoint",
        "tunnel",
        "lease",
        "socket",
        "certificate",
        "listener",
    )
    verbs = ("overflow on", "cannot be attached to", "was rejected by", "timed out waiting for", "is missing from")
    return [f"{subjects[n % 10]} {verbs[n // 10 % 5]} device {n:04d}x" for n in range(number)]


def scan(folder: str, number: str) -> dict[str, float]:
    """Hyperscan over the blocks, nothing else."""
    import hyperscan

    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    texts = [phrase.encode() for phrase in phrases(int(number))]
    database.compile(expressions=texts, ids=range(len(texts)), elements=len(texts), flags=hyperscan.HS_FLAG_CASELESS)
    blocks = list(_blocks(folder))

    def hit(*_: object) -> None:
        return None

    return _timed(lambda: [database.scan(block, match_event_handler=hit) for block in blocks])


def ripgrep(folder: str, number: str) -> dict[str, float]:
    """`rg -c` with as many regular expressions at once, one thread: in how many lines any of them is."""
    patterns = Path(folder) / "patterns"
    patterns.write_text("\n".join(_expressions(number)) + "\n")
    return _timed(lambda: _ripgrep(folder, "--file", str(patterns)))


def ripgrep_each(folder: str, number: str) -> dict[str, float]:
    """`rg -c` with each of as many regular expressions, one thread: what it takes to learn which of them is in how many lines."""
    return _timed(lambda: [_ripgrep(folder, "--regexp", expression) for expression in _expressions(number)])


def _expressions(number: str) -> list[str]:
    return [phrase.replace(" ", r"\s+") for phrase in phrases(int(number))]


def _ripgrep(folder: str, *patterns: str) -> None:
    command = ["rg", "--threads", "1", "--count", "--ignore-case", *patterns, *map(str, _files(folder))]
    subprocess.run(command, capture_output=True, check=False)


def ndjson(folder: str) -> dict[str, float]:
    """The same messages as JSON records of a shipper, decoded to columns by Polars."""
    import polars as pl

    blocks = []
    for block in _blocks(folder):
        lines = pl.read_lines(block, name="log").select(pl.struct("log").struct.json_encode())
        blocks.append("\n".join(lines.to_series()).encode())
    return _timed(lambda: [pl.read_ndjson(block, schema={"log": pl.String}) for block in blocks])


def _ruleset(extra: int, *, shipped: bool = True) -> Any:
    from pipeline import parsers
    from pipeline.documents import Document
    from pipeline.signatures import compiler, load
    from pipeline.signatures.entry import Entry
    from pipeline.signatures.models import Block
    from pipeline.signatures.ruleset import RuleSet

    entries = []
    for number, phrase in enumerate(phrases(extra)):
        detection = {"s": {"message|contains": phrase}, "condition": "s"}
        count = {
            "type": "event_count",
            "rules": [f"text_{number}"],
            "group-by": ["k8s.node.name"],
            "timespan": "1m",
            "condition": {"gte": 1},
        }
        values: list[dict[str, Any]] = [
            {"name": f"text_{number}", "title": phrase, "logsource": {}, "detection": detection},
            {"name": f"count_{number}", "title": phrase, "correlation": count},
        ]
        entries.extend(Entry(Block.model_validate(value), Document(Path("bench.yaml"), value)) for value in values)
    made = compiler.compile_rules(entries, [], "bench", parsers.vocabulary())
    if not shipped:
        return made
    own = load.load(parsers.vocabulary())
    return RuleSet({**own.detections, **made.detections}, {**own.rules, **made.rules}, own.signatures, f"bench-{extra}")


def _run(folder: str, ruleset: Any, passed: Callable[[Any], None] = lambda _: None) -> dict[str, float]:
    """The whole way: files, blocks, engine, incidents; `passed` is told of the engine behind every turn."""
    from connectors.sources import capture as source
    from pipeline.engine import blocks, candidates, intake, matching, scan
    from pipeline.engine.engine import Engine
    from pipeline.runtime import memory, merge
    from pipeline.signatures import load

    stages: dict[str, float] = defaultdict(float)
    for owner, name, label in (
        (blocks, "_block", "bytes to lines"),
        (scan.Scanner, "scan", "scan"),
        (intake.Intake, "_look", "clocks"),
        (intake.Intake, "_counted", "all-rows counts"),
        (candidates.Candidates, "take", "candidates: parse"),
        (matching.Matcher, "keep", "candidates: match"),
    ):
        setattr(owner, name, _clocked(getattr(owner, name), stages, f"stage {label}"))
    memory.keep_blocks()
    opened = source.open_capture(Path(folder))
    engine = Engine(ruleset, cluster="bench", cache=load.cache_folder())
    begin = time.perf_counter()
    for batches in merge.merged([(file.stream, lambda size, file=file: opened.read(file, block=size)) for file in opened.files]):
        engine.feed(batches)
        passed(engine)
    engine.finish()
    engine.incidents()
    return {"seconds": time.perf_counter() - begin, **stages}


def _clocked(work: Callable[..., Any], stages: dict[str, float], label: str) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            stages[label] += time.perf_counter() - begin

    return timed


def engine(folder: str, extra: str) -> dict[str, float]:
    """The shipped signatures and so many text signatures more."""
    return _run(folder, _ruleset(int(extra)))


def bare(folder: str, extra: str) -> dict[str, float]:
    """Text signatures alone: nothing is counted over all rows."""
    return _run(folder, _ruleset(int(extra), shipped=False))


def memory(folder: str, *marks: str) -> dict[str, float]:
    """The peak of resident memory (MiB) by the time that so many lines were read, of one process."""
    peaks: dict[str, float] = {}

    def passed(engine: Any) -> None:
        lines = sum(number for (metric, _), number in engine.state.counts.items() if metric == "lines")
        for mark in marks:
            if mark not in peaks and lines >= int(mark) * 0.99:
                peaks[mark] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    _run(folder, _ruleset(0), passed)
    return peaks


def command(*arguments: str) -> dict[str, float]:
    """A command from start to exit."""
    return _timed(
        lambda: subprocess.run([sys.executable, "-m", "pipeline.cli.main", *arguments], capture_output=True, check=True)
    )


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "copy": copy, "scan": scan, "ripgrep": ripgrep, "ripgrep_each": ripgrep_each, "ndjson": ndjson, "engine": engine, "bare": bare, "memory": memory, "command": command,
}  # fmt: skip

if __name__ == "__main__":
    main()
