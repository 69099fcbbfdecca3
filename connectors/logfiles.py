"""Any log files, or standard input: bytes in blocks of whole lines, without asking what they are.

Guarantee: every byte is given once, in order. Plain, `.gz` and `.zst` (by their first bytes, whatever the name). A folder
stands for the files in it. What cannot be read is noted in `troubles` and the rest goes on.
"""

import gzip
import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from connectors.compressed import zstd
from pipeline.errors import UsageError

STDIN = "-"
BLOCK = 8 << 20
LONGEST = 32 << 20
PATIENCE = 0.2
"""Seconds after which a wait for input is interrupted to look whether somebody wants out."""
_READING = (OSError, EOFError, zlib.error, zstandard.ZstdError)


@dataclass(slots=True)
class Files:
    """Files by the names they were given. `troubles` are one line each, for people."""

    names: list[str]
    troubles: list[str] = field(default_factory=list)

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file in blocks that end with a line."""
        rest = b""
        try:
            with _open(name) as handle:
                while piece := handle.read(BLOCK):
                    block, rest = self._divided(name, rest + piece)
                    yield from (block,) if block else ()
        except _READING as error:
            self.troubles.append(f"{name}: cannot be read to its end ({error}); what came before was used")
        if rest:
            yield rest

    def _divided(self, name: str, data: bytes) -> tuple[bytes, bytes]:
        """Whole lines, and the beginning of a line that stays for later; one that is far too long passes as it is."""
        cut = data.rfind(b"\n") + 1
        if cut == 0 and len(data) >= LONGEST:
            self.troubles.append(f"{name}: a line of more than {LONGEST >> 20} MiB was cut")
            cut = len(data)
        return data[:cut], data[cut:]


def open_files(names: list[str]) -> Files:
    """The named files; folders give the files in them. Raises UsageError for a name that is nothing."""
    found: list[str] = []
    for name in names:
        path = Path(name)
        if name == STDIN or path.is_file() or path.is_fifo() or path.is_char_device():
            found.append(name)
        elif path.is_dir():
            found.extend(str(inside) for inside in sorted(path.rglob("*")) if inside.is_file() and not inside.is_symlink())
        else:
            raise UsageError(f"scanning {name}: there is no such file; name log files, folders, or - for standard input")
    return Files(found)


class _Waiting(io.RawIOBase):
    """A pipe or terminal that is waited for in short pieces: a Ctrl-C just before a read that blocks would wait with it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (any buffer)
        while not select.select([self._raw], [], [], PATIENCE)[0]:
            continue
        data = os.read(self._raw.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _open(name: str) -> Iterator[BinaryIO | gzip.GzipFile]:
    with nullcontext(sys.stdin.buffer) if name == STDIN else Path(name).open("rb") as raw:
        ends = stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
        buffered = cast("io.BufferedReader", raw) if ends else io.BufferedReader(_Waiting(raw))
        head = buffered.peek(4)[:4]
        if head.startswith(b"\x1f\x8b"):
            yield gzip.GzipFile(fileobj=buffered, mode="rb")
        elif head == b"\x28\xb5\x2f\xfd":
            yield zstd(buffered)
        else:
            yield buffered
