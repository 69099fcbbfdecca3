"""What is peculiar to standard input: it ends."""

import os
from pathlib import Path

from connectors.sources import stdin
from pipeline.contracts import Context
from pipeline.contracts.source import LONGEST
from pipeline.model.stream import Stream

STREAM = Stream("stdin#1")


def test_the_last_line_needs_no_end() -> None:
    """A half line waits while the other end is open, and is given when it closes."""
    read, write = os.pipe()
    source = stdin.Stdin(STREAM, read)
    os.write(write, b"one\ntw")
    assert [batch.data for batch in source.poll(100, 0)] == [b"one\n"]
    assert not source.poll(100, 1)
    os.write(write, b"o")
    os.close(write)
    assert [(batch.data, batch.offset) for batch in source.poll(100, 2)] == [(b"two", 4)]
    assert source.finished()
    assert not source.poll(100, 3)
    os.close(read)


def test_a_file_is_read_to_its_end_in_shares(tmp_path: Path) -> None:
    """`headwater run < file`: a budget at a time; a line too long is cut, once said."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * (LONGEST + 10) + b"\n" + b"line\n" * 1000)
    fd = os.open(path, os.O_RDONLY)
    source, found = stdin.Stdin(STREAM, fd), []
    while not source.finished():
        found += [batch.data for batch in source.poll(8 << 20, 0)]
    assert b"".join(found) == path.read_bytes()
    assert [trouble.kind for trouble in source.troubles()] == ["cut"]
    os.close(fd)


def test_each_run_is_a_stream_of_its_own(tmp_path: Path) -> None:
    """The other end is another one, and its bytes are counted from zero."""
    context = Context("cluster", tmp_path, "stdin")
    one, other = (stdin.create(stdin.Settings(node="a"), context) for _ in range(2))
    assert one.position()["stream"] != other.position()["stream"]
