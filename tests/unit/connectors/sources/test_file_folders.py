"""Folders that are followed: they vanish and return, are mounted late, and go with their pods."""

import shutil
from pathlib import Path

from tests.unit.connectors.sources.test_file import POD, Reader, write


def test_a_folder_that_vanishes_and_returns(tmp_path: Path) -> None:
    """Said once; what it holds then is read, and what it held is not read again."""
    folder = tmp_path / "logs"
    reader = Reader(folder, paths=(str(folder),))
    assert reader.poll(3) == []
    write(folder / "app.log", "a")
    assert reader.poll(2) == ["a"]
    folder.rename(tmp_path / "away")
    assert reader.poll(3) == []
    (tmp_path / "away").rename(folder)
    write(folder / "app.log", "b")
    write(folder / "other.log", "c")
    assert sorted(reader.poll(3)) == ["b", "c"]
    assert reader.troubles == [("missing", "logs", 1)] * 2


def test_a_quiet_file_in_a_folder_that_vanishes_and_returns(tmp_path: Path) -> None:
    """However long it was quiet before and the folder away, it is read on and not again; nothing is missed that came meanwhile."""
    pods, away = tmp_path / "pods", tmp_path / "away"
    path = write(pods / POD / "0.log", "a")
    reader = Reader(pods, start="beginning")
    assert reader.poll(20) == ["a"]
    pods.rename(away)
    assert reader.poll(60) == []
    assert not reader.source.status().alive
    assert reader.source.status().text.startswith(f"following {pods}: No such file")
    write(away / POD / "0.log", "b")
    away.rename(pods)
    write(path, "c")
    assert reader.poll(5) == ["b", "c"]
    assert "gap" not in {kind for kind, *_ in reader.troubles}


def test_a_pod_that_goes_with_its_folders_is_no_trouble(tmp_path: Path) -> None:
    """That is what pods do; the last that it wrote is read."""
    reader = Reader(tmp_path)
    assert reader.poll(3) == []
    path = write(tmp_path / POD / "0.log", "a")
    assert reader.poll(2) == ["a"]
    write(path, "b")
    shutil.rmtree(tmp_path / Path(POD).parent)
    assert reader.poll(20) == ["b"]
    assert reader.troubles == []
    assert reader.source.status().text == ""


def test_a_folder_that_is_not_mounted_yet_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    write(folder / "app.log", "a")
    reader = Reader(folder, start="beginning")
    assert reader.poll() == ["a"]
    reader.restart(between=lambda: folder.rename(tmp_path / "away") and None)
    assert reader.poll(5) == []
    (tmp_path / "away").rename(folder)
    write(folder / "app.log", "b")
    assert reader.poll(3) == ["b"]
    assert reader.troubles == [("missing", "logs", 1)]
