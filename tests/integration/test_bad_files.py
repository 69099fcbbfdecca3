"""Bad input of the running service: one clear message, then counted, and the rest goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import living
from tests.integration.living import Lab, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MANY = 10_000
LONG = 100 << 20


def line(text: str) -> bytes:
    return f"2026-11-23T04:22:30.000000000Z stdout F {text}\n".encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "followed"
    made.mkdir()
    return made


@pytest.fixture
def lab(laboratory, folder: Path) -> Lab:
    """A service that follows the files of one folder as well."""
    made = laboratory()
    source = {"type": "file", "name": "strange", "paths": [f"{folder}/"], "envelope": "cri", "start": "beginning"}
    made.change(sources=[*made.config["sources"], source])
    return made


def source(lab: Lab, name: str = "strange") -> dict[str, object]:
    """What the service says of a source."""
    return next(entry for entry in lab.service.report()["sources"] if entry["name"] == name)


def read(lab: Lab) -> int:
    """Bytes that were read from the folder."""
    number = source(lab)["bytes"]
    assert isinstance(number, int)
    return number


def troubles(lab: Lab, who: str = "strange") -> dict[str, str]:
    """The newest text of each kind of trouble of a source."""
    return {entry["kind"]: entry["last"] for entry in lab.service.report()["troubles"] if entry["at"] == who}


def test_strange_files_are_said_once_and_the_rest_goes_on(lab: Lab, folder: Path) -> None:
    """Binary files, a pipe, a file that shrinks, a folder that goes and returns; an outage beside them is found as ever."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    (folder / "core.log").write_bytes(bytes(range(256)) * 1000)
    os.mkfifo(folder / "pipe.log")
    shrinking, sub = folder / "shrinking.log", folder / "sub"
    shrinking.write_bytes(line("first") + line("second") * 10)
    sub.mkdir()
    (sub / "inside.log").write_bytes(line("inside"))
    lab.service.start()
    until(lab.service.ready)
    size = shrinking.stat().st_size + len(line("inside"))
    until(lambda: read(lab) == size, "the first lines")
    lab.outage.write(lab.share(2))
    shrinking.write_bytes(line("other"))
    shutil.rmtree(sub)
    until(lambda: read(lab) == size + len(line("other")), "the line after shrinking")
    sub.mkdir()
    (sub / "again.log").write_bytes(line("returned"))
    until(lambda: read(lab) == size + len(line("other")) + len(line("returned")), "the folder that returned")
    said = troubles(lab)
    assert "core.log has zero bytes at its beginning" in said["binary"]
    assert "pipe.log is a pipe" in said["special"]
    lab.settle(expected)
    assert lab.outcome == expected
    text = lab.service.said()
    assert text.count("core.log") == 1, text
    assert text.count("pipe.log") == 1, text
    assert text.count("shrinking.log") <= 1, text
    assert "Traceback" not in text


def test_a_line_without_end_is_cut(lab: Lab, folder: Path) -> None:
    """100 MB of one line: cut, said, and what follows it is read; memory stays bounded."""
    path = folder / "long.log"
    with path.open("wb") as file:
        file.write(line("before"))
        file.write(line("x" * LONG))
        file.write(line("after"))
    size = path.stat().st_size
    lab.service.start()
    until(lab.service.ready)
    until(lambda: read(lab) == size, "all of it")
    assert "a line of more than 32 MiB" in troubles(lab)["cut"]
    assert lab.service.process
    status = Path(f"/proc/{lab.service.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) >> 10
    assert peak < 1500, f"{peak} MiB"
    with path.open("ab") as file:
        file.write(line("later"))
    until(lambda: read(lab) == size + len(line("later")), "a line that came later")
    assert lab.service.end() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_once(lab: Lab, folder: Path) -> None:
    """And followed when it may."""
    path = folder / "secret.log"
    path.write_bytes(line("secret"))
    path.chmod(0)
    lab.service.start()
    until(lab.service.ready)
    until(lambda: "Permission denied" in troubles(lab).get("unreadable", ""), "the message")
    path.chmod(0o600)
    until(lambda: read(lab) == path.stat().st_size, "the line")
    assert lab.service.said().count("secret.log: Permission denied") == 1
    assert lab.service.end() == 0


def test_ten_thousand_files(lab: Lab, folder: Path) -> None:
    """Few descriptors, and a line in any of them is read soon, though their names differ in a number only, like rotated ones."""
    for number in range(MANY):
        (folder / f"app-{number}.log").write_bytes(line(f"of {number}"))
    lab.service.start()
    until(lab.service.ready)
    size = sum(path.stat().st_size for path in folder.iterdir())
    until(lambda: read(lab) == size, "all of them")
    assert lab.service.process
    assert len(os.listdir(f"/proc/{lab.service.process.pid}/fd")) < 1000  # noqa: PTH208 (as many as there are)
    with (folder / f"app-{MANY // 2}.log").open("ab") as file:
        file.write(line("news"))
    until(lambda: read(lab) == size + len(line("news")), "the news")
    assert lab.service.end() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True, check=False)
    if not done or done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("a small tmpfs needs the right to mount: run as root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_said_and_survived(laboratory, small_disk: Path) -> None:
    """The message names the file; when there is room again everything is there."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab: Lab = laboratory(keep=True)
    lab.change(state=str(small_disk / "state"))
    lab.service.start()
    until(lab.service.ready)
    lab.outage.write(lab.share(3))
    until(lambda: sum(lab.service.report()["lines"].values()) == lab.outage.written, "the first third")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while shutil.disk_usage(small_disk).free:
            file.write(bytes(min(65536, shutil.disk_usage(small_disk).free)))
    lab.outage.write(lab.share(3))
    until(lambda: "No space left on device" in lab.service.said(), "the message")
    assert f"{small_disk}/state/log/" in lab.service.said()
    assert not lab.service.report()["log"]["writable"]
    ballast.unlink()
    until(lambda: sum(lab.service.report()["lines"].values()) == lab.outage.written, "the second third")
    lab.settle(expected)
    assert lab.outcome == expected
