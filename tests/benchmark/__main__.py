"""`make bench`: speed and memory from raw bytes to incident, beside what a machine can do at best.

Every measurement is a process of its own, pinned to one core with one Polars thread, and is the median of several. Figures are
ratios of one run on one machine; BENCHMARKS.md says which. `--lines` and `--repeats` make it quicker or steadier.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HEALTHY = ROOT / "tests" / "captures" / "healthy-rollouts"


def main() -> None:
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--long", type=int, default=20_000_000, help="lines of the memory test; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    from tests.benchmark import corpus

    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        folder = Path(scratch) / "corpus"
        folder.mkdir()
        size = corpus.write(HEALTHY, folder, arguments.lines)
        print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}, {_cpu()}")
        print(f"{arguments.lines:,} lines, {size / arguments.lines:.0f} bytes a line, medians of {arguments.repeats}\n")
        base = _report(folder, arguments.lines, arguments.repeats)
        _rules_report(folder, arguments.lines, arguments.repeats, base)
        _startup(arguments.repeats)
        if arguments.long:
            _memory(Path(scratch), arguments.long)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def _measure(task: str, *arguments: object, repeats: int = 1) -> dict[str, float]:
    """The medians of what a task reports, over so many processes of their own."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.benchmark.task", task, *(str(argument) for argument in arguments)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"benchmark {task} failed:\n{done.stderr}")
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _row(label: str, nanoseconds: float, base: float | None = None) -> None:
    ratio = "" if base is None else f"{nanoseconds / base:.1f} x"
    print(f"| {label} | {nanoseconds:,.0f} | {1e9 / nanoseconds:,.0f} | {ratio} |")


def _report(folder: Path, lines: int, repeats: int) -> float:
    print("| beside | ns a line | lines/s | to a memory copy |\n|---|---|---|---|")
    copy = _measure("copy", folder, repeats=repeats)["seconds"] / lines * 1e9
    _row("memory copy of the bytes", copy, copy)
    scan = _measure("scan", folder, 300, repeats=repeats)["seconds"] / lines * 1e9
    _row("Hyperscan alone, 300 literals", scan, copy)
    decode = _measure("ndjson", folder, repeats=repeats)["seconds"] / lines * 1e9
    _row("Polars decodes the lines as NDJSON", decode, copy)
    if shutil.which("rg"):
        together = _measure("ripgrep", folder, 300, repeats=repeats)["seconds"] / lines * 1e9
        _row("`ripgrep -c`, 300 regular expressions at once (any of them)", together, copy)
        each = _measure("ripgrep_each", folder, 300)["seconds"] / lines * 1e9
        _row("`ripgrep -c`, each of the 300 regular expressions (which of them)", each, copy)
    else:
        print("| `ripgrep -c`: not installed (`apt-get install ripgrep`) | | | |")
    return copy


def _rules_report(folder: Path, lines: int, repeats: int, base: float) -> None:
    print("\n| raw bytes to incident, one core | ns a line | lines/s | to a memory copy |\n|---|---|---|---|")
    for label, extra in (
        ("shipped signatures", 0),
        ("shipped and 300 text signatures", 300),
        ("shipped and 3,000 text signatures", 3000),
    ):
        found = _measure("engine", folder, extra, repeats=repeats)
        _row(label, found["seconds"] / lines * 1e9, base)
    bare = _measure("bare", folder, 300, repeats=repeats)
    _row("300 text signatures, no all-rows rules", bare["seconds"] / lines * 1e9, base)
    stages = {key: value for key, value in found.items() if key.startswith("stage ")}
    print("\n| stage (with 3,000 text signatures) | ns a line |\n|---|---|")
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"| {name.removeprefix('stage ')} | {seconds / lines * 1e9:,.0f} |")


def _startup(repeats: int) -> None:
    help_ = _measure("command", "--help", repeats=repeats)["seconds"]
    replay = _measure("command", "replay", HEALTHY, repeats=repeats)["seconds"]
    print(f"\n`headwater --help`: {help_:.2f} s. `headwater replay tests/captures/healthy-rollouts`: {replay:.2f} s.")


def _memory(scratch: Path, lines: int) -> None:
    from tests.benchmark import corpus

    folder = scratch / "memory"
    folder.mkdir()
    corpus.write(HEALTHY, folder, lines)
    marks = sorted({1_000_000, lines // 4, lines // 2, lines})
    peaks = _measure("memory", folder, *marks)
    print("\n| lines read | peak memory so far, MiB |\n|---|---|")
    for mark in marks:
        print(f"| {mark:,} | {peaks[str(mark)]:.0f} |")


if __name__ == "__main__":
    main()
