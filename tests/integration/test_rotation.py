"""Followed files under the real logrotate, with a real writer, and with a reader that is killed at random moments.

Nothing may be lost and nothing come twice, in any mode of rotation. What happens in which order is drawn at random; pytest prints the
seed. The reader is told when to poll, so nobody waits for a time to pass.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors.sources import file
from pipeline.contracts import Context
from tests.servers import require

pytestmark = pytest.mark.integration

MODES = {
    "create": "create",
    "copytruncate": "copytruncate",
    "compress": "create\ncompress",
    "delaycompress": "create\ncompress\ndelaycompress",
    "copytruncate-compress": "copytruncate\ncompress",
    "copytruncate-delaycompress": "copytruncate\ncompress\ndelaycompress",
    "dateext": "create\ncompress\ndateext\ndateformat -%Y%m%d-%s",
    "extension": "create\ncompress\ndelaycompress\nextension .log",
}
ROUNDS = 60 if os.environ.get("CI") else 25
every_mode = pytest.mark.parametrize("mode", MODES)

WRITER = """
import signal, sys
path, number, told = sys.argv[1], 0, []
out = open(path, "a")
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
for line in sys.stdin:
    if told:
        told.clear()
        out.close()
        out = open(path, "a")
    for _ in range(int(line)):
        out.write(f"2026-11-23T04:39:01.{number:09}Z stdout F line {number}\\n")
        number += 1
    out.flush()
    print(number, flush=True)
"""
READER = """
import json, os, sys
from pathlib import Path
from connectors.sources import file
from pipeline.contracts import Context
folder, out, saved = map(Path, sys.argv[1:])
source = file.create(file.Settings(paths=(f"{folder}/*.log",), start="beginning"), Context("c", folder, "files"))
length, now = 0, 0.0
if saved.exists():
    state = json.loads(saved.read_text())
    length = state["length"]
    source.seek(state["position"])
with out.open("ab") as given:
    given.truncate(length)
    for _ in sys.stdin:
        now += 5
        for batch in source.poll(3000, now):
            given.write(batch.data)
        for trouble in source.troubles():
            given.write(f"TROUBLE {trouble.text}\\n".encode())
        given.flush()
        beside = saved.with_suffix(".new")
        beside.write_text(json.dumps({"position": source.position(), "length": given.tell()}))
        beside.replace(saved)
        source.commit(source.position())
        print("polled", flush=True)
"""


class Writer:
    """A program that writes numbered lines, and opens its log anew on SIGUSR1."""

    def __init__(self, path: Path) -> None:
        self.written = 0
        self.process = child(WRITER, path)

    def write(self, lines: int) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{lines}\n")
        self.process.stdin.flush()
        self.written = int(self.process.stdout.readline())


def child(script: str, *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


class Rotation:
    """logrotate with one log."""

    def __init__(self, folder: Path, mode: str, pid: int) -> None:
        self.program = require("logrotate", "logrotate")
        self.config, self.state = folder / "logrotate.conf", folder / "logrotate.state"
        signal = f"postrotate\nkill -USR1 {pid}\nendscript\n" if "copytruncate" not in MODES[mode] else ""
        self.config.write_text(f"{folder}/logs/app.log {{\nrotate 100\nmissingok\n{MODES[mode]}\n{signal}}}\n")
        self.config.chmod(0o600)

    def force(self) -> None:
        command = [self.program, "--force", "--state", self.state, self.config]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert not done.returncode or "already exists" in done.stderr, done.stderr  # two rotations within a second


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir(mode=0o755)
    return tmp_path / "logs"


@pytest.fixture
def writer(logs: Path) -> Iterator[Writer]:
    made = Writer(logs / "app.log")
    yield made
    ended(made.process)


def numbers(text: str) -> list[int]:
    assert not [line for line in text.splitlines() if line.startswith("TROUBLE")]
    return [int(line.rpartition(" ")[2]) for line in text.splitlines()]


@every_mode
def test_a_follower_sees_every_line_once(tmp_path: Path, logs: Path, writer: Writer, mode: str) -> None:
    """Whether it keeps up, falls several rotations behind, or is started anew."""
    rotation, made = Rotation(tmp_path, mode, writer.process.pid), None
    settings, position, now = file.Settings(paths=(f"{logs}/*.log",), start="beginning"), None, 0.0
    found: list[str] = []
    for step in random.choices(["write", "poll", "rotate", "restart"], [5, 3, 2, 1], k=4 * ROUNDS) + ["poll"] * 40:  # noqa: S311
        if made is None:
            made = file.create(settings, Context("c", tmp_path, "files"))
            if position is not None:
                made.seek(position)
        if step == "write":
            writer.write(random.randrange(1, 60))  # noqa: S311
        elif step == "rotate":
            rotation.force()
        elif step == "poll":
            now += 5
            found += [batch.data.decode() for batch in made.poll(3000 if now < 500 else 1 << 20, now)]
            position = json.loads(json.dumps(made.position()))
            found += [f"TROUBLE {trouble.text}\n" for trouble in made.troubles()]
        else:
            made.close()
            made = None
    if made:
        made.close()
    assert sorted(numbers("".join(found))) == list(range(writer.written))


@every_mode
def test_a_reader_that_is_killed_goes_on_where_it_saved(tmp_path: Path, logs: Path, writer: Writer, mode: str) -> None:
    """Its output and its position are saved together; whatever it did after that is done again, and nothing else."""
    rotation, out, saved = Rotation(tmp_path, mode, writer.process.pid), tmp_path / "out", tmp_path / "saved"
    for _ in range(12 if os.environ.get("CI") else 4):
        reader = child(READER, logs, out, saved)
        assert reader.stdin
        assert reader.stdout
        for _ in range(random.randrange(1, 8)):  # noqa: S311 (pytest-randomly prints the seed)
            writer.write(random.randrange(1, 60))  # noqa: S311
            if random.random() < 0.4:  # noqa: S311
                rotation.force()
            polls = random.randrange(4)  # noqa: S311
            reader.stdin.write("poll\n" * polls)
            reader.stdin.flush()
            for _ in range(random.randrange(polls + 1)):  # noqa: S311
                assert reader.stdout.readline()
        ended(reader)
        rotation.force()
    with closing(file.create(file.Settings(paths=(f"{logs}/*.log",), start="beginning"), Context("c", logs, "files"))) as source:
        text = b""
        if saved.exists():
            state = json.loads(saved.read_text())
            text = out.read_bytes()[: state["length"]]
            source.seek(state["position"])
        for now in range(0, 400, 5):
            text += b"".join(batch.data for batch in source.poll(1 << 20, float(now)))
        assert sorted(numbers(text.decode())) == list(range(writer.written))
        assert not source.troubles()


def test_a_writer_that_never_stops(tmp_path: Path, logs: Path, writer: Writer) -> None:
    """Lines are written all the time while logrotate renames and compresses."""
    rotation = Rotation(tmp_path, "compress", writer.process.pid)
    assert writer.process.stdin
    assert writer.process.stdout
    writer.process.stdin.write("200\n" * 400)
    writer.process.stdin.flush()
    found: list[str] = []
    with closing(file.create(file.Settings(paths=(str(logs),), start="beginning"), Context("c", tmp_path, "files"))) as source:
        now, last = 0.0, False
        while not last or now < 1000:
            last = last or not writer.process.stdout.readable() or _done(writer)
            now += 5
            found += [batch.data.decode() for batch in source.poll(1 << 20, now)]
            if not last and random.random() < 0.1:  # noqa: S311
                rotation.force()
        found += [f"TROUBLE {trouble.text}\n" for trouble in source.troubles()]
    assert sorted(numbers("".join(found))) == list(range(80_000))


def _done(writer: Writer) -> bool:
    assert writer.process.stdout
    return int(writer.process.stdout.readline()) == 80_000
