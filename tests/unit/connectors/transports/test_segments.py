"""What is peculiar to the local log: files that are torn, damaged, compressed, or do not fit the disk any more."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from connectors.segmented import frames
from connectors.transports import segments
from connectors.transports.segments import Segments
from pipeline.contracts import Context
from pipeline.errors import TransportError
from pipeline.model.stream import RawBatch, Stream

STREAM = Stream("kmsg", "kmsg", "kernel", node="a")
NOW = 1_795_000_000.0


def opened(state: Path, segment_bytes: int = 1 << 20) -> Segments:
    settings = segments.Settings(segment_bytes=segment_bytes)
    return segments.create(settings, Context("cluster", state, "log"))


def batch(number: int, size: int = 100) -> RawBatch:
    return RawBatch(STREAM, f"{number:0{size}}\n".encode(), number)


def numbers(log: Segments) -> list[int]:
    """Which batches the log holds."""
    position, found = log.begin(), []
    while (read := log.read(position, 1 << 16)).batches:
        found += [batch.offset for batch in read.batches]
        position = read.position
    return found


def appended(log: Segments, wanted: Iterable[int]) -> Iterator[int]:
    """Append batches, and say of each that it is kept."""
    for number in wanted:
        log.append([batch(number, 5000)], NOW)
        yield number


def files(state: Path) -> list[Path]:
    return sorted(path for path in (state / "log").iterdir() if path.name != segments.READERS)


def test_a_tail_torn_at_any_byte_is_cut_to_whole_appends(tmp_path: Path) -> None:
    """An append of several batches is there as a whole or not at all, and the log goes on behind the cut."""
    with closing(opened(tmp_path)) as log:
        first = log.append([batch(0)], NOW)["offset"]
        second = log.append([batch(1), batch(2), batch(3)], NOW)["offset"]
    whole = files(tmp_path)[0].read_bytes()
    for size in random.sample(range(first, second), 60):
        state = tmp_path / str(size)
        (state / "log").mkdir(parents=True)
        (state / "log" / files(tmp_path)[0].name).write_bytes(whole[:size])
        with closing(opened(state)) as log:
            assert log.end() == {"offset": first}
            assert [(trouble.kind, trouble.amount) for trouble in log.troubles()] == (
                [("cut", size - first)] if size > first else []
            )
            log.append([batch(4)], NOW)
            assert numbers(log) == [0, 4]


def test_zeros_behind_a_loss_of_power_are_cut(tmp_path: Path) -> None:
    """A file system may have kept the length of a file but not its last bytes."""
    with closing(opened(tmp_path)) as log:
        log.append([batch(0)], NOW)
    with files(tmp_path)[0].open("ab") as file:
        file.write(bytes(5000))
    with closing(opened(tmp_path)) as log:
        assert [trouble.amount for trouble in log.troubles()] == [5000]
        assert numbers(log) == [0]


@pytest.mark.parametrize("packed", [False, True])
def test_damage_in_the_middle_costs_what_it_hit(tmp_path: Path, *, packed: bool) -> None:
    """A plain file loses one frame; a compressed one what cannot be decompressed. The next segment is whole."""
    with closing(opened(tmp_path, 2000)) as log:
        for number in range(12):
            log.append([batch(number)], NOW)
        while packed and log.compress():
            pass
    path = files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with closing(opened(tmp_path, 2000)) as log:
        found = numbers(log)
        assert {trouble.kind for trouble in log.troubles()} == {"damaged"}
    assert found[-3:] == [9, 10, 11]
    assert len(found) == 11 or packed


def test_a_compressed_segment_is_a_zstandard_file_and_reads_the_same(tmp_path: Path) -> None:
    """Positions given before the compression hold after it, in the same process and in the next."""
    with closing(opened(tmp_path, 3 << 20)) as log:
        for number in range(8):
            log.append([batch(number, 1 << 20)], NOW + number)
        middle = log.read(log.begin(), 1).position
        before, plain = numbers(log), files(tmp_path)[0].read_bytes()
        assert log.compress()
        assert log.compress()
        assert not log.compress()
        assert numbers(log) == before
        assert log.read(middle, 1).batches == [batch(1, 1 << 20)]
        assert log.status().size < sum(len(batch(n, 1 << 20).data) for n in before)
    assert [path.suffix for path in files(tmp_path)] == [".zst", ".zst", ".log"]
    with (
        files(tmp_path)[0].open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader,
    ):
        assert reader.read() == plain
    with closing(opened(tmp_path, 3 << 20)) as log:
        assert numbers(log) == before
        assert log.retain(NOW + 100, age=95.5, size=None) > 0
        assert numbers(log) == before[3:]


def test_a_death_within_the_compression_does_no_harm(tmp_path: Path) -> None:
    """Half a compressed file is thrown away; where both are there, one is."""
    with closing(opened(tmp_path, 1024)) as log:
        for number in range(30):
            log.append([batch(number)], NOW)
        first = files(tmp_path)[0]
        plain = first.read_bytes()
        log.compress()
    first.write_bytes(plain)
    second = files(tmp_path)[2]
    second.with_suffix(".unfinished").write_bytes(b"half")
    with closing(opened(tmp_path, 1024)) as log:
        assert numbers(log) == list(range(30))
    assert not first.exists()
    assert not list((tmp_path / "log").glob("*.unfinished"))


def test_positions_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    """A damaged file of positions is not taken for none: the readers would read all anew without a word."""
    with closing(opened(tmp_path)) as log:
        log.commit("reader", log.end())
    (tmp_path / "log" / segments.READERS).write_text("{")
    with pytest.raises(TransportError, match=r"readers\.json"):
        opened(tmp_path)


def test_a_position_behind_the_end_is_a_gap(tmp_path: Path) -> None:
    """Where the machine lost power, a reader may have come further than the log."""
    with closing(opened(tmp_path)) as log:
        end = log.append([batch(0)], NOW)["offset"]
        assert log.read({"offset": end + 7}, 100).position == {"offset": end}
        assert [trouble.amount for trouble in log.troubles()] == [7]


def test_a_magic_in_the_rows_confuses_nobody(tmp_path: Path) -> None:
    """Rows may hold what looks like a frame, even a whole one."""
    evil = RawBatch(STREAM, frames.encode([batch(9)], NOW) * 3, 5)
    with closing(opened(tmp_path)) as log:
        log.append([evil, batch(6)], NOW)
        assert numbers(log) == [5, 6]


WRITER = """
import sys
from pathlib import Path
from connectors.transports import segments
from pipeline.contracts import Context
from pipeline.model.stream import RawBatch, Stream
log = segments.create(segments.Settings(segment_bytes=20000), Context("c", Path(sys.argv[1]), "log"))
number = int(sys.argv[2])
while True:
    rows = [RawBatch(Stream("kmsg"), b"%0100d\\n" % n, n) for n in range(number, number + 3)]
    log.append(rows, 1.0)
    number += 3
    print(number, flush=True)
    if number % 30 == 0:
        log.commit("writer", log.end())
        log.compress()
"""


@pytest.mark.integration
def test_acknowledged_rows_survive_kill_9(root: Path, tmp_path: Path) -> None:
    """A process that appends is killed at random moments: what it was told to be kept is there, once, in order."""
    acknowledged = 0
    for _ in range(10 if os.environ.get("CI") else 3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(acknowledged)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)})
        assert child.stdout
        for _ in range(random.randrange(1, 300)):  # noqa: S311 (pytest-randomly prints the seed)
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = int([str(acknowledged), *child.stdout.read().split()][-1])
        child.wait()
        child.stdout.close()
        with closing(opened(tmp_path, 20000)) as log:
            found = numbers(log)
            assert found[:acknowledged] == list(range(acknowledged))
            assert found == list(range(len(found)))
            acknowledged = len(found)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False)
    if not done or done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("a small tmpfs needs the right to mount: run as root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.integration
def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    """The error names the file; nothing written before is lost, half an append is cut, and there is a way on."""
    kept: list[int] = []
    ballast = small_disk / "ballast"
    with closing(opened(small_disk, 100_000)) as log:
        ballast.write_bytes(bytes(200_000))
        with pytest.raises(TransportError, match=rf"{small_disk}/log/\d+\.log: No space left"):
            kept.extend(appended(log, range(1000)))
        assert not log.status().writable
        assert numbers(log) == kept
        assert len(kept) > 20
        ballast.write_bytes(bytes(200_000 + (shutil.disk_usage(small_disk).free // 4096) * 4096))
        with pytest.raises(TransportError, match="readers"):
            log.commit("reader", {**log.end(), "padding": "x" * 5000})
        with pytest.raises(TransportError, match="compressing"):
            log.compress()
        with closing(opened(small_disk, 100_000)) as again:
            assert numbers(again) == kept
        ballast.unlink()
        log.append([batch(1000, 5000)], NOW)
        log.commit("reader", log.end())
        assert log.status().writable
        assert numbers(log) == [*kept, 1000]
        assert not log.troubles()
