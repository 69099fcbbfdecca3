"""What is peculiar to followed files: rotation in every way it is done, and whatever else lies in a folder of logs.

Nobody sleeps: the clock is an argument, and each poll is five seconds later than the one before.
"""

import gzip
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard

from connectors.followed import file as followed_file
from connectors.sources import file
from pipeline.contracts import Context
from pipeline.contracts.source import LONGEST
from pipeline.errors import ConfigError
from pipeline.model.stream import Stream

POD = "shop_cart-0_5b205caa-36d1-47ed-a8e8-e4ff4616d2c1/cart"


class Reader:
    """A source and what it has given so far."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = file.Settings(**{"paths": (str(folder),), **settings})
        self.now = 1000.0
        self.streams: dict[str, Stream] = {}
        self.troubles: list[tuple[str, str, int]] = []
        self.texts: list[str] = []
        self.source = self.made()

    def made(self) -> file.Followed:
        return file.create(self.settings, Context("cluster", self.folder, "files"))

    def poll(self, times: int = 1) -> list[str]:
        """The lines that so many polls gave."""
        found = []
        for _ in range(times):
            self.now += 5
            for batch in self.source.poll(64 << 20, self.now):
                self.streams[batch.stream.id] = batch.stream
                found += batch.data.decode("latin-1").splitlines()
            self.troubles += [(t.kind, Path(t.subject).name, t.amount) for t in self.source.troubles()]
        self.texts += found
        return found

    def restart(self, position: Any = None, between: Callable[[], None] = lambda: None) -> None:
        """Another process, which goes on where this one is; `between` the two something may happen."""
        position = json.loads(json.dumps(position or self.source.position()))
        self.source.close()
        between()
        self.source = self.made()
        self.source.seek(position)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.source.close()


def write(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        out.writelines(f"{line}\n" for line in lines)
    return path


def compress(path: Path) -> None:
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def zstd(path: Path) -> None:
    Path(f"{path}.zst").write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    path.unlink()


def copytruncate(path: Path) -> None:
    shutil.copy(path, f"{path}.1")
    os.truncate(path, 0)


def kubelet(path: Path) -> None:
    path.rename(f"{path}.20261123-040000")
    path.touch()


def rename(path: Path) -> None:
    path.rename(f"{path}.1")
    path.touch()


def dated(path: Path) -> None:
    path.rename(path.with_name("app-20261123.log"))
    path.touch()


def renamed_and_compressed(path: Path) -> None:
    rename(path)
    compress(Path(f"{path}.1"))


def renamed_and_zstd(path: Path) -> None:
    rename(path)
    zstd(Path(f"{path}.1"))


def dated_and_compressed(path: Path) -> None:
    dated(path)
    compress(path.with_name("app-20261123.log"))


def copied_and_compressed(path: Path) -> None:
    copytruncate(path)
    compress(Path(f"{path}.1"))


ROTATIONS = [
    rename, kubelet, dated, copytruncate, renamed_and_compressed, renamed_and_zstd, dated_and_compressed, copied_and_compressed,
]  # fmt: skip
every_rotation = pytest.mark.parametrize("rotate", ROTATIONS, ids=lambda rotate: rotate.__name__)


def test_existing_files_are_followed_from_their_end_and_later_ones_from_their_beginning(tmp_path: Path) -> None:
    """A half line at the end of an existing file is given whole."""
    old = write(tmp_path / "old.log", "before")
    old.write_text("before\nhalf ")
    reader = Reader(tmp_path)
    assert reader.poll() == []
    with old.open("a") as out:
        out.write("and half\n")
    write(tmp_path / "new.log", "new")
    assert sorted(reader.poll()) == ["half and half", "new"]


def test_from_the_beginning_means_with_all_that_was_rotated_oldest_first(tmp_path: Path) -> None:
    for number, name in enumerate(["app.log.2", "app.log.1", "app.log"]):
        path = write(tmp_path / name, *(f"{name} {line}" for line in range(3)))
        os.utime(path, (1e9 + number, 1e9 + number))
    compress(tmp_path / "app.log.2")
    os.utime(tmp_path / "app.log.2.gz", (1e9, 1e9))
    reader = Reader(tmp_path, start="beginning")
    names = [text.split()[0] for text in reader.poll(3)]
    assert names == ["app.log.2"] * 3 + ["app.log.1"] * 3 + ["app.log"] * 3


def test_a_half_line_waits_for_its_end(reader: Reader, tmp_path: Path) -> None:
    reader.poll()
    with (tmp_path / "app.log").open("w") as out:
        for text, expected in (("a", []), ("b", []), ("c\nd", ["abc"]), ("", []), ("\n", ["d"])):
            out.write(text)
            out.flush()
            assert reader.poll() == expected


@every_rotation
@pytest.mark.parametrize("restarted", [False, True])
def test_rotation_loses_nothing_and_repeats_nothing(
    reader: Reader, tmp_path: Path, rotate: Callable[[Path], None], *, restarted: bool
) -> None:
    """Read in part, written to, rotated, written to again: while it is followed, or while nobody reads."""
    path = write(tmp_path / "app.log", "zero")
    reader.poll()
    write(path, *range(1, 4))
    reader.poll()

    def happens() -> None:
        write(path, *range(4, 7))
        rotate(path)
        write(path, *range(7, 10))

    reader.restart(between=happens) if restarted else happens()
    reader.poll(3)
    write(path, 10)
    reader.poll(30)
    reader.restart()
    reader.poll(2)
    assert reader.texts == [str(number) for number in range(1, 11)]
    assert not reader.troubles
    assert len(reader.streams) == 2


@every_rotation
def test_a_rotation_is_followed_by_the_next(reader: Reader, tmp_path: Path, rotate: Callable[[Path], None]) -> None:
    """The rotated file gives way to the next one, as `rotate 1` does, many times."""
    reader.poll()
    path, number = tmp_path / "app.log", 0
    for _ in range(6):
        write(path, *range(number, number + 5))
        number += 5
        reader.poll(number % 3 + 1)
        for old in tmp_path.glob("app?*.*[1z3t]"):
            if old != path:
                old.unlink()
        rotate(path)
    reader.poll(30)
    assert sorted(map(int, reader.texts)) == list(range(number))
    assert not [trouble for trouble in reader.troubles if trouble[0] == "gap"]
    assert len(reader.source.position()["files"]) <= 2


def test_two_rotations_while_nobody_reads(reader: Reader, tmp_path: Path) -> None:
    """The rest of the known file, a whole one that was never seen, and the new one; a glob takes rotated names too."""
    reader = Reader(tmp_path, paths=(str(tmp_path / "*.log"),))
    path = write(tmp_path / "app.log", "a")
    reader.poll()
    write(path, "b")
    reader.poll()

    def happens() -> None:
        write(path, "c")
        rename(path)
        write(path, "d")
        Path(f"{path}.1").rename(f"{path}.2")
        rename(path)
        compress(Path(f"{path}.2"))
        write(path, "e")

    reader.restart(between=happens)
    reader.poll(3)
    assert reader.texts == ["b", "c", "d", "e"]
    assert not reader.troubles


def test_a_writer_goes_on_in_the_renamed_file(reader: Reader, tmp_path: Path) -> None:
    """Until it is told to open its log anew; and in a removed one, as long as it is open."""
    reader.poll()
    path = tmp_path / "app.log"
    with path.open("a") as writer:
        for text, change in (("a", lambda: rename(path)), ("b", (tmp_path / "app.log.1").unlink), ("c", lambda: None)):
            writer.write(f"{text}\n")
            writer.flush()
            assert reader.poll(2) == [text]
            change()
            assert reader.poll() == []
    assert not reader.troubles


def test_what_a_removed_file_had_unread_is_a_gap(reader: Reader, tmp_path: Path) -> None:
    """With its size where it is known; what was read is no loss."""
    for name in ("read.log", "unread.log"):
        write(tmp_path / name, "0")
    reader.poll()

    def happens() -> None:
        write(tmp_path / "unread.log", "1")
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()

    reader.restart(between=happens)
    reader.poll(5)
    assert sorted(reader.troubles) == [("gap", "read.log", 0), ("gap", "unread.log", 0)]
    reader.troubles.clear()
    write(tmp_path / "live.log", "2")
    assert reader.poll() == ["2"]
    (tmp_path / "live.log").unlink()
    reader.poll(30)
    assert not reader.troubles
    assert not reader.source.position()["files"]


def test_a_file_that_shrinks_is_read_anew(reader: Reader, tmp_path: Path) -> None:
    """Under another name for its records; said once each time."""
    path = write(tmp_path / "app.log", "first content")
    reader.poll()
    write(path, "second")
    reader.poll()
    path.write_text("third\n")
    assert reader.poll(2) == ["third"]
    reader.poll(4)
    assert len(reader.streams) == 2
    assert [kind for kind, _, _ in reader.troubles] == ["truncated"]


def test_other_bytes_of_the_same_length_are_noticed(reader: Reader, tmp_path: Path) -> None:
    """A file truncated and filled again between two looks is not taken for the one that it was."""
    path = write(tmp_path / "app.log", "0" * 50)
    reader.poll()
    path.write_text("1" * 80 + "\n" + "2" * 80 + "\n")
    assert reader.poll(2) == ["1" * 80, "2" * 80]


def test_the_same_first_line_again_is_another_stream(reader: Reader, tmp_path: Path) -> None:
    """Programs that begin every log with one banner: no two records ever have the same name."""
    reader.poll()
    seen = set()
    for number in range(5):
        path = write(tmp_path / "app.log", "# banner", number)
        self_made = reader.poll(2)
        assert self_made == ["# banner", str(number)]
        seen |= set(reader.streams)
        assert len(seen) == number + 1
        (copytruncate if number % 2 else rename)(path)


def test_a_restart_from_an_old_position_gives_the_same_records(reader: Reader, tmp_path: Path) -> None:
    """Also those of files that were found only later."""
    reader.poll()
    position = reader.source.position()
    path = write(tmp_path / "app.log", "a", "b")
    reader.poll()
    rename(path)
    write(path, "c")
    reader.poll(2)
    before, streams = sorted(reader.texts), set(reader.streams)
    reader.streams.clear()
    reader.restart(position)
    assert sorted(reader.poll(3)) == before
    assert {name.partition("#")[2] for name in streams} == {name.partition("#")[2] for name in reader.streams}


def test_strange_things_in_a_folder_are_said_once(reader: Reader, tmp_path: Path) -> None:
    """Binary files, pipes, sockets, links in a circle and to nothing: the rest goes on."""
    reader.poll()
    (tmp_path / "core").write_bytes(bytes(range(256)) * 100)
    os.mkfifo(tmp_path / "pipe.log")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "nothing.log").symlink_to(tmp_path / "void")
    (tmp_path / "self.log").symlink_to(tmp_path / "self.log")
    write(tmp_path / "deep" / "er" / "app.log", "a")
    (tmp_path / "twice.log").symlink_to(tmp_path / "deep" / "er" / "app.log")
    os.link(tmp_path / "deep" / "er" / "app.log", tmp_path / "hard.log")
    assert reader.poll(5) == ["a"]
    assert sorted(reader.troubles) == [("binary", "core", 1), ("special", "pipe.log", 1), ("special", "socket", 1)]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, and for as long as the test runs a user who is not root: root may read everything."""
    nobody, user = 65534, os.geteuid()
    with TemporaryDirectory() as folder:
        if user == 0:
            os.chown(folder, nobody, nobody)
            os.seteuid(nobody)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_an_unreadable_file_is_said_once_and_read_when_it_can_be(unprivileged: Path) -> None:
    """The same for a folder; what can be read goes on."""
    reader = Reader(unprivileged)
    reader.poll()
    path, folder = write(unprivileged / "app.log", "a"), unprivileged / "deep"
    write(folder / "deep.log", "b")
    path.chmod(0)
    folder.chmod(0)
    write(unprivileged / "other.log", "c")
    assert reader.poll(5) == ["c"]
    assert sorted(reader.troubles) == [("unreadable", "app.log", 1), ("unreadable", "deep", 1)]
    assert reader.source.status().alive
    path.chmod(0o600)
    folder.chmod(0o700)
    assert sorted(reader.poll(3)) == ["a", "b"]


def test_a_line_too_long_is_cut_and_the_rest_goes_on(reader: Reader, tmp_path: Path) -> None:
    """100 MB without an end: memory stays bounded, one trouble, and all bytes are given in order."""
    write(tmp_path / "app.log", "a")
    reader.poll()
    with (tmp_path / "app.log").open("ab") as out:
        out.write(b"x" * 100_000_000 + b"\nb\n")
    pieces = reader.poll(20)
    assert "".join(pieces) == "x" * 100_000_000 + "b"
    assert max(map(len, pieces)) == LONGEST
    assert [trouble[0] for trouble in reader.troubles] == ["cut"]


def test_a_damaged_compressed_file_costs_only_its_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "app.log.1", *(os.urandom(20).hex() for _ in range(20_000)))
    compress(path)
    packed = tmp_path / "app.log.1.gz"
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    write(tmp_path / "app.log", "a")
    reader = Reader(tmp_path, start="beginning")
    found = reader.poll(5)
    reader.source.close()
    assert found.index("a") > 1000
    assert [trouble[:2] for trouble in reader.troubles] == [("damaged", "app.log.1.gz")]


def test_more_files_than_descriptors(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read all the same, and the number of open descriptors stays within its bound."""
    monkeypatch.setattr(followed_file, "OPEN", 16)
    reader.poll()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for round_ in range(3):
        for number in range(200):
            write(tmp_path / f"{number}.log", f"{round_} {number}")
        assert len(reader.poll(3)) == 200
        assert len(list(Path("/proc/self/fd").iterdir())) < before + 50
    assert not reader.troubles


@pytest.mark.parametrize("linked", [False, True])
def test_paths_of_kubernetes_say_whose_log_it_is(tmp_path: Path, *, linked: bool) -> None:
    """By the folder, or by the links to it, whose targets are followed through rotation as well."""
    pods = tmp_path / "log" / "pods"
    path = write(pods / POD / "0.log", "before")
    link = tmp_path / "log" / "containers" / f"cart-0_shop_cart-{'0f' * 32}.log"
    link.parent.mkdir()
    link.symlink_to(path)
    reader = Reader(tmp_path, paths=(str(link.parent / "*.log" if linked else pods),), node="node-a", container="x")
    reader.poll()
    write(path, "a")
    reader.poll()
    kubelet(path)
    write(path, "b")
    reader.poll()
    write(path.with_name("1.log"), "another container, to which no link leads yet")
    reader.poll(2)
    assert reader.texts[:2] == ["a", "b"]
    assert len(reader.texts) == (2 if linked else 3)
    stream = next(iter(reader.streams.values()))
    assert (stream.namespace, stream.pod, stream.container, stream.node, stream.cluster) == (
        "shop", "cart-0", "cart", "node-a", "cluster",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "exclude", "expected"),
    [
        (["/"], [], ["a.log", "b.txt", "d/c.log", "d/e/f.log"]),
        (["/*.log"], [], ["a.log"]),
        (["/**/*.log"], [], ["a.log", "d/c.log", "d/e/f.log"]),
        (["/*/*.log"], [], ["d/c.log"]),
        (["/[ab].*"], [], ["a.log", "b.txt"]),
        (["/a.log", "/d"], [], ["a.log", "d/c.log", "d/e/f.log"]),
        (["/"], ["*.txt", "e"], ["a.log", "d/c.log"]),
        (["/"], ["*/d/*"], ["a.log", "b.txt"]),
    ],
)
def test_which_files_are_meant(tmp_path: Path, paths: list[str], exclude: list[str], expected: list[str]) -> None:
    for name in ("a.log", "b.txt", "d/c.log", "d/e/f.log"):
        write(tmp_path / name, name)
    reader = Reader(tmp_path, paths=tuple(f"{tmp_path}{path}" for path in paths), exclude=tuple(exclude), start="beginning")
    assert sorted(reader.poll(2)) == expected


def test_a_relative_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="relative"):
        Reader(tmp_path, paths=("logs/app.log",))
