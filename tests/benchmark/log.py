"""`python -m tests.benchmark.log`: the local log and followed files. Rows appended and read, bytes a row, lines followed, and what
ten thousand quiet files cost.

All in one process on one core, from the cache of the file system. An append returns when the rows are with the kernel.
"""

import argparse
import itertools
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import zstandard

from connectors.sources import file
from connectors.transports import segments
from pipeline.contracts import Context
from pipeline.model.stream import RawBatch, Stream
from tests.benchmark import corpus

HEALTHY = Path(__file__).resolve().parents[1] / "captures" / "healthy-rollouts"
BUDGET = 8 << 20
POLLS = 600
"""Of a minute: one every 100 ms."""


def main() -> None:
    """Measure and print a Markdown report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.log", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000, help="quiet files to follow")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        folder = Path(scratch)
        size = corpus.write(HEALTHY, folder, arguments.lines)
        print(f"{platform.machine()}, Python {platform.python_version()}, zstandard {zstandard.__version__}")
        print(f"{arguments.lines:,} lines, {size / arguments.lines:.0f} bytes a line, medians of {arguments.repeats}\n")
        print("| | lines/s |\n|---|---|")
        for rows in (1, 100, 10_000):
            some = arguments.lines // 20 if rows == 1 else arguments.lines
            _row(
                f"append to the log, {rows:,} rows a batch",
                some,
                [_appended(folder, rows, some) for _ in range(arguments.repeats)],
            )
        _row("read from the log, plain", arguments.lines, [_read(folder) for _ in range(arguments.repeats)])
        packing = _pack(folder)
        _row("compress full segments", arguments.lines, [packing])
        _row("read from the log, compressed", arguments.lines, [_read(folder) for _ in range(arguments.repeats)])
        _row("follow files, 8 MiB a poll", arguments.lines, [_followed(folder) for _ in range(arguments.repeats)])
        _sizes(folder, arguments.lines, size)
        _quiet(folder / "quiet", arguments.files)


def _row(label: str, lines: int, seconds: list[float]) -> None:
    print(f"| {label} | {lines / statistics.median(seconds):,.0f} |")


def _batches(folder: Path, rows: int) -> Iterator[RawBatch]:
    """The corpus cut into batches."""
    for path in sorted(folder.glob("nodes/**/*.log")):
        stream, offset = Stream(path.parts[-3], "cri", node="node-a"), 0
        with path.open("rb") as lines:
            while data := b"".join(itertools.islice(lines, rows)):
                yield RawBatch(stream, data, offset)
                offset += len(data)


def _log(folder: Path) -> segments.Segments:
    return segments.create(segments.Settings(segment_bytes=16 << 20), Context("bench", folder / "state", "log"))


def _appended(folder: Path, rows: int, lines: int) -> float:
    """Seconds to append so many lines to an empty log, one batch a call."""
    for path in (folder / "state" / "log").glob("*"):
        path.unlink()
    batches = list(itertools.islice(_batches(folder, rows), lines // rows))  # a source has them at hand
    with closing(_log(folder)) as log:
        begin = time.perf_counter()
        for batch in batches:
            log.append((batch,), 1.0)
        return time.perf_counter() - begin


def _read(folder: Path) -> float:
    with closing(_log(folder)) as log:
        begin, position = time.perf_counter(), log.begin()
        while (read := log.read(position, BUDGET)).batches:
            position = read.position
        return time.perf_counter() - begin


def _pack(folder: Path) -> float:
    """Seconds to compress every segment that is full."""
    with closing(_log(folder)) as log:
        begin = time.perf_counter()
        while log.compress():
            pass
        return time.perf_counter() - begin


def _followed(folder: Path) -> float:
    """Seconds to read all files of the corpus from their beginning."""
    settings = file.Settings(paths=(f"{folder}/nodes",), start="beginning")
    with closing(file.create(settings, Context("bench", folder, "files"))) as source:
        begin, now = time.perf_counter(), 0.0
        while source.poll(BUDGET, now):
            now += 0.1
        return time.perf_counter() - begin


def _sizes(folder: Path, lines: int, size: int) -> None:
    plain = packed = raw = 0
    compressor = zstandard.ZstdCompressor(level=1)
    for path in (folder / "state" / "log").glob("*.zst"):
        packed += path.stat().st_size
        with path.open("rb") as stored, zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True) as reader:
            while piece := reader.read(1 << 20):
                raw += len(piece)
    for path in folder.glob("nodes/**/*.log"):
        plain += len(compressor.compress(path.read_bytes()))
    share = raw / size
    print(
        f"\nBytes a row in compressed segments: {packed / lines / share:.1f}; of the same text by zstd at level 1: {plain / lines:.1f}."
    )


def _quiet(folder: Path, number: int) -> None:
    """What it costs to follow files that say nothing, ten polls a second."""
    folder.mkdir()
    for at in range(number):
        path = folder / f"ns_pod-{at // 2}_{at // 2:08x}" / f"container-{at % 2}" / "0.log"
        path.parent.mkdir(parents=True)
        path.write_text(f"2026-11-23T04:00:00.{at:09}Z stdout F line\n")
    with closing(file.create(file.Settings(paths=(str(folder),)), Context("bench", folder, "files"))) as source:
        begin = time.process_time()
        source.poll(BUDGET, 0.0)
        first = time.process_time() - begin
        for at in range(1, POLLS + 1):  # until they count as quiet
            source.poll(BUDGET, at / 10 + 60)
        begin = time.process_time()
        for at in range(1, POLLS + 1):
            source.poll(BUDGET, at / 10 + 200)
        spent = time.process_time() - begin
        begin = time.process_time()
        source.position()
        position = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{number:,} quiet files in as many folders: first look {first:.2f} s, then {spent / POLLS * 1000:.2f} ms a poll, ",
        end="",
    )
    print(
        f"{spent / 60:.2%} of a core at ten a second; a position {position * 1000:.1f} ms. Peak memory of all: {memory:.0f} MiB."
    )


if __name__ == "__main__":
    main()
