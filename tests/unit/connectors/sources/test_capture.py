"""What is peculiar to a recording as a source: files merged by time, at a chosen speed, with pauses left out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.sources import capture
from pipeline.contracts import Context
from pipeline.errors import ConfigError

START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
CONTEXT = Context("", Path("/nonexistent"), "recording")


def record(folder: Path, pod: str, *seconds: float) -> None:
    path = folder / f"nodes/a/var/log/pods/n_{pod}_1/c/0.log"
    path.parent.mkdir(parents=True)
    lines = (f"{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S.%f}Z stdout F {pod} {second}\n" for second in seconds)
    path.write_text("".join(lines))
    (folder / "capture.yaml").write_text("cluster: c\nnodes: {a: {zone: z1}}\n")


def poll(source: capture.Recorded, now: float, budget: int = 1 << 20) -> list[str]:
    lines = [line for batch in source.poll(budget, now) for line in batch.data.decode().splitlines()]
    return [line.partition(" F ")[2] or "topology" for line in lines]


def test_records_come_when_their_time_has_come(tmp_path: Path) -> None:
    """Twice as fast here; what says which nodes there are comes first; a pause of more than a minute is left out."""
    record(tmp_path, "x", 0, 4, 20, 500, 510)
    record(tmp_path, "y", 1, 5)
    source = capture.create(capture.Settings(path=tmp_path, speed=2), CONTEXT)
    assert poll(source, 100) == ["topology"]
    assert poll(source, 100) == ["x 0"]
    assert poll(source, 101) == ["y 1"]
    assert poll(source, 102) == ["x 4"]
    assert poll(source, 102.4) == []
    assert poll(source, 109) == ["y 5"]
    assert not source.finished()
    assert poll(source, 110) == ["x 20"]
    assert poll(source, 111) == ["x 500"]
    assert poll(source, 115) == []
    assert poll(source, 116) == ["x 510"]
    assert poll(source, 117) == []
    assert source.finished()
    assert not source.live


def test_files_advance_together(tmp_path: Path) -> None:
    """As fast as can be, in small shares: no file runs ahead of the others by more than a share."""
    for pod in ("x", "y", "z"):
        record(tmp_path, pod, *range(5000))
    source = capture.create(capture.Settings(path=tmp_path, speed=0), CONTEXT)
    newest = {"x": 0, "y": 0, "z": 0}
    count = 0
    while not source.finished():
        for line in poll(source, 0, 90_000):
            pod, _, second = line.partition(" ")
            if second:
                newest[pod], count = int(second), count + 1
        assert max(newest.values()) - min(newest.values()) <= 1
    assert count == 15_000


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """The layout of captures is checked when it is opened; a folder without one is an error of the configuration."""
    record(tmp_path, "x", 0)
    (tmp_path / "notes.txt").write_text("?")
    source = capture.create(capture.Settings(path=tmp_path, speed=0), CONTEXT)
    assert ["notes.txt" in trouble.text for trouble in source.troubles()] == [True]
    assert not source.troubles()
    with pytest.raises(ConfigError, match=r"recording.*no such folder"):
        capture.create(capture.Settings(path=tmp_path / "none"), CONTEXT)
