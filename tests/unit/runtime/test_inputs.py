"""The ways in: what cannot be read twice goes through the log, once, whatever a restart gives again."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from connectors.sources import file as followed
from connectors.transports import segments
from pipeline.contracts import Context
from pipeline.contracts.source import Position, SourceStatus, Trouble
from pipeline.errors import SourceError, TransportError
from pipeline.model.stream import RawBatch, Stream
from pipeline.runtime import progress
from pipeline.runtime.inputs import BUDGET, Input, Inputs

KERNEL = Stream("kmsg#boot", "kmsg", "kernel")


class Ring:
    """A source like the kernel's ring: records by number, given again after a `seek` to an older number."""

    rereadable, live = False, True

    def __init__(self, records: list[bytes]) -> None:
        self.records, self.next, self.error = records, 0, ""

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        if self.error:
            raise SourceError(self.error)
        numbers = list(range(self.next, len(self.records)))
        if not numbers:
            return []
        data, self.next = b"".join(self.records[self.next :]), len(self.records)
        return [RawBatch(KERNEL, data, numbers[0], pl.Series(numbers, dtype=pl.UInt64))]

    def more(self) -> bool:
        return False

    def position(self) -> Position:
        return {"next": self.next}

    def seek(self, position: Position) -> None:
        self.next = position["next"]

    def commit(self, position: Position) -> None: ...

    def troubles(self) -> Sequence[Trouble]:
        return []

    def status(self) -> SourceStatus:
        return SourceStatus(alive=True, waiting=None, streams=1)

    def finished(self) -> bool:
        return False

    def close(self) -> None: ...


class Full(segments.Segments):
    """A log on a disk that may be full."""

    full = False

    def append(self, batches: Sequence[RawBatch], now: float) -> Any:
        if self.full:
            raise TransportError("appending to the log: No space left on device")
        return super().append(batches, now)


@pytest.fixture
def log(tmp_path: Path) -> Full:
    return Full(tmp_path / "log", 1 << 20)


def records(*numbers: int) -> list[bytes]:
    return [b"6,%d,%d,-;message %d\n continued\n" % (n, n * 1000, n) for n in numbers]


def text(batches: Sequence[RawBatch]) -> bytes:
    return b"".join(batch.data for batch in batches)


def logged(log: Full) -> list[RawBatch]:
    """What stands in the log, without notes of how far it was read."""
    return [batch for batch in log.read(log.begin(), 1 << 20).batches if batch.stream != progress.STREAM]


def made(source: Ring, log: Full) -> Inputs:
    return Inputs([Input("kernel", "kmsg", source, kept=True)], log)


def test_what_cannot_be_read_twice_goes_through_the_log(log: Full) -> None:
    """What comes out is what stands in the log."""
    inputs = made(Ring(records(0, 1)), log)
    assert text(inputs.read(0, 100).batches) == b"".join(records(0, 1))
    assert text(logged(log)) == b"".join(records(0, 1))


def test_records_behind_the_checkpoint_are_taken_once(log: Full) -> None:
    """After a kill the log has rows that the checkpoint does not know; the source goes on behind them."""
    first = made(Ring(records(0, 1)), log)
    first.read(0, 100)
    saved = first.positions()
    first.inputs[0].source.records.extend(records(2, 3))  # type: ignore[attr-defined]
    first.read(1, 101)

    again = made(Ring(records(0, 1, 2, 3, 4)), log)
    assert list(again.seek(saved)) == []
    assert text(again.read(2, 102).batches) == b"".join(records(2, 3, 4))
    assert text(logged(log)) == b"".join(records(0, 1, 2, 3, 4))


def test_a_kill_before_the_first_checkpoint_takes_nothing_in_twice(log: Full) -> None:
    """Then the log alone knows how far the source was read."""
    made(Ring(records(0, 1)), log).read(0, 100)
    again = made(Ring(records(0, 1, 2)), log)
    assert list(again.seek(None)) == []
    assert text(again.read(1, 101).batches) == b"".join(records(0, 1, 2))
    assert text(logged(log)) == b"".join(records(0, 1, 2))


def test_an_older_place_in_the_log_gives_its_rows_again_and_asks_no_source(log: Full) -> None:
    """Other rules read from there; what is kept was read of its source once and for all."""
    ring = Ring(records(0))
    first = made(ring, log)
    old = first.positions()
    first.read(0, 100)
    ring.records.extend(records(1))
    first.read(1, 101)

    again = made(Ring(records(0, 1, 2)), log)
    assert list(again.seek(first.positions(), old)) == []
    assert text(again.read(2, 102).batches) == b"".join(records(0, 1, 2))
    assert text(logged(log)) == b"".join(records(0, 1, 2))


def test_a_kill_while_the_log_is_read_again_takes_nothing_in_twice(log: Full) -> None:
    """A checkpoint on the way back to the present knows the present too."""
    ring = Ring(records(0))
    first = made(ring, log)
    old = first.positions()
    first.read(0, 100)
    ring.records.extend(records(1))
    first.read(1, 101)

    again = made(Ring(records(0, 1)), log)
    assert list(again.seek(first.positions(), old)) == []
    third = made(Ring(records(0, 1, 2)), log)
    assert list(third.seek(again.positions())) == []
    assert text(third.read(2, 102).batches) == b"".join(records(0, 1, 2))
    assert text(logged(log)) == b"".join(records(0, 1, 2))


def test_a_log_without_notes_is_read_again_and_asks_no_source(log: Full) -> None:
    """As the first versions of the service left it."""
    numbers = pl.Series([0, 1], dtype=pl.UInt64)
    old = made(Ring(records(0, 1)), log).positions()
    log.append([RawBatch(KERNEL, b"".join(records(0, 1)), 0, numbers)], 100)
    saved = {"log": log.end(), "sources": {"kernel": {"type": "kmsg", "position": {"next": 2}}}}

    again = made(Ring(records(0, 1, 2)), log)
    assert list(again.seek(saved, old)) == []
    assert text(again.read(2, 102).batches) == b"".join(records(0, 1, 2))
    assert text(logged(log)) == b"".join(records(0, 1, 2))


def test_what_follows_a_place_of_the_log_is_read_again_when_the_log_loses_it(log: Full, tmp_path: Path) -> None:
    """A torn tail takes rows and the note of them, so that their source gives them again."""
    ring = Ring(records(0))
    first = made(ring, log)
    first.read(0, 100)
    saved, kept = first.positions(), log.end()["offset"]
    ring.records.extend(records(1))
    first.read(1, 101)
    log.close()
    with (tmp_path / "log" / f"{0:020}.log").open("r+b") as segment:
        segment.truncate(kept + 10)

    torn = Full(tmp_path / "log", 1 << 20)
    again = made(Ring(records(0, 1)), torn)
    assert list(again.seek(saved)) == []
    assert text(again.read(2, 102).batches) == b"".join(records(1))
    assert text(logged(torn)) == b"".join(records(0, 1))


def following(folder: Path, log: Full, *, kept: bool = False, start: Literal["end", "beginning"] = "beginning") -> Inputs:
    """Files as a source."""
    settings = followed.Settings(paths=(f"{folder}/logs/",), start=start)
    return Inputs([Input("pods", "file", followed.create(settings, Context("lab", folder, "pods")), kept=kept)], log)


def compress(path: Path) -> None:
    path.with_name(f"{path.name}.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize("rotate", [lambda path: path.rename(f"{path}.1"), compress], ids=["renamed", "compressed"])
@pytest.mark.parametrize("saves", [True, False], ids=["checkpoint", "none"])
def test_a_kept_file_that_is_new_and_rotated_after_a_kill_is_taken_once(
    log: Full, tmp_path: Path, rotate: Callable[[Path], object], *, saves: bool
) -> None:
    """The checkpoint does not know it; the log beside it begins with the same lines and has as many bytes."""

    def follow(saved: Any) -> tuple[Inputs, list[RawBatch]]:
        inputs = following(tmp_path, log, kept=True)
        assert list(inputs.seek(saved)) == []
        return inputs, [batch for now in range(100, 400, 20) for batch in inputs.read(now, now).batches]

    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.with_name("other.log").write_text("banner\nother\n")
    inputs, _ = follow(None)
    saved = inputs.positions() if saves else None
    path.write_text("banner\nfirst 1\nfirst 2\n")
    inputs.read(500, 500)
    inputs.close()
    rotate(path)
    path.write_text("banner\nnext  1\nnext  2\n")

    log = Full(tmp_path / "log", 1 << 20)
    _, found = follow(saved)
    expected = [] if saves else ["banner", "other"]
    assert sorted(text(found).decode().split("\n")[:-1]) == sorted(
        [*expected, "banner", "first 1", "first 2", "banner", "next  1", "next  2"]
    )
    names = [(batch.stream.id, batch.offset) for batch in logged(log)]
    assert len(names) == len(set(names))


def test_while_the_log_takes_nothing_the_position_stays(log: Full) -> None:
    """What could not be kept is held, said, tried again, and not counted as read by a checkpoint."""
    source = Ring(records(0))
    inputs = made(source, log)
    log.full = True
    assert inputs.read(0, 100).batches == []
    assert [who for who, _ in inputs.errors()] == ["log"]
    source.records.extend(records(1))
    assert inputs.positions()["sources"]["kernel"]["position"] == {"next": 0}
    log.full = False
    assert text(inputs.read(1, 101).batches) == b"".join(records(0))
    assert text(inputs.read(2, 102).batches) == b"".join(records(1))
    assert inputs.positions()["sources"]["kernel"]["position"] == {"next": 2}


def test_in_the_midst_of_a_long_line_there_is_more(log: Full, tmp_path: Path) -> None:
    """A round that gives no row is not the end of a backlog."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_bytes(b"x" * (BUDGET + 10) + b"\nshort\n")
    inputs = following(tmp_path, log)
    rounds = [inputs.read(0, 100)]
    while rounds[-1].more:
        rounds.append(inputs.read(len(rounds), 100))
    assert not rounds[0].batches
    assert text(rounds[-1].batches).endswith(b"x\nshort\n")


@pytest.mark.parametrize("kept", [True, False])
def test_what_comes_after_the_first_look_lies_behind_its_position(log: Full, tmp_path: Path, *, kept: bool) -> None:
    """Files that are followed from their end: other rules that go back to the very start find what was written since."""
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.write_text("old\n")
    inputs = following(tmp_path, log, kept=kept, start="end")
    inputs.look(0, 100)
    begin = inputs.positions()
    path.write_text("old\nnew\n")
    assert text(inputs.read(1, 101).batches) == b"new\n"
    again = following(tmp_path, log, kept=kept, start="end")
    assert list(again.seek(begin)) == []
    assert text(again.read(2, 102).batches) == b"new\n"


def test_a_source_that_fails_does_not_stop_the_others(log: Full) -> None:
    """Its error is said, and it is tried again."""
    broken, sound = Ring(records(0)), Ring(records(0))
    broken.error = "reading the kernel: no such device"
    inputs = Inputs([Input("broken", "kmsg", broken, kept=False), Input("sound", "kmsg", sound, kept=False)], log)
    assert text(inputs.read(0, 100).batches) == b"".join(records(0))
    assert inputs.errors() == [("broken", "reading the kernel: no such device")]
    broken.error = ""
    assert text(inputs.read(1, 101).batches) == b"".join(records(0))


def test_a_source_that_is_new_begins_anew(log: Full) -> None:
    """A checkpoint knows nothing of it; one of another type under its name is another source."""
    inputs = made(Ring(records(0, 1)), log)
    saved = inputs.positions()
    saved["sources"]["kernel"] = {"type": "stdin", "position": {"next": 2}}
    assert list(inputs.seek(saved)) == []
    assert text(inputs.read(0, 100).batches) == b"".join(records(0, 1))
