"""The bytes of one file, plain or compressed, and the few at its beginning that tell it from others."""

import errno
import gzip
import hashlib
import io
import os
import zlib
from dataclasses import dataclass
from typing import IO, Protocol

import zstandard

from connectors.compressed import zstd

HEAD = 256
"""Bytes that make a fingerprint; a file that is shorter has a shorter one, which grows with it."""
_PIECE = 1 << 20
_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5": "zst"}
DAMAGED = (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile)
Key = tuple[int, int]


class Handle(Protocol):
    """An open file."""

    def pread(self, size: int, at: int) -> bytes:
        """Bytes at a place, fewer at the end."""

    def forget(self, before: int) -> None:
        """Nothing before a place is asked for again."""

    def stat(self) -> os.stat_result:
        """Of the file that is open, whatever its name is by now."""

    def close(self) -> None:
        """Let it go."""


@dataclass(slots=True)
class Plain:
    """A file read in place."""

    fd: int

    def pread(self, size: int, at: int) -> bytes:
        """Bytes at a place."""
        return os.pread(self.fd, size, at)

    def forget(self, before: int) -> None:
        """Nothing is kept."""

    def stat(self) -> os.stat_result:
        """Of the open file."""
        return os.fstat(self.fd)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


class Packed:
    """A compressed file read from its beginning; places count decompressed bytes. A damaged one raises one of `DAMAGED`."""

    def __init__(self, fd: int, codec: str) -> None:
        self._fd, self._codec = fd, codec
        self._raw: IO[bytes] | None = None
        self._reader: io.BufferedReader | gzip.GzipFile | None = None
        self._failed: BaseException | None = None
        self._begin, self._buffer = 0, b""

    def pread(self, size: int, at: int) -> bytes:
        """Bytes at a place."""
        if self._reader is None or at < self._begin:
            self._restart()
        pieces, reached = [self._buffer], self._begin + len(self._buffer)
        while reached < at + size and (piece := self._piece(at + size - reached)):
            reached += len(piece)
            if reached <= at:
                pieces, self._begin = [], reached
            else:
                pieces.append(piece)
        self._buffer = b"".join(pieces)
        data = self._buffer[at - self._begin : at - self._begin + size]
        if self._failed is not None and not data:
            raise self._failed
        return data

    def _piece(self, size: int) -> bytes:
        """The next decompressed bytes. What stands before the damage is given first."""
        try:
            return self._reader.read1(size) if self._reader and self._failed is None else b""
        except DAMAGED as error:
            self._failed = error
            return b""

    def forget(self, before: int) -> None:
        """Drop what was kept for a second look."""
        if before > self._begin:
            self._buffer = self._buffer[before - self._begin :]
            self._begin = before

    def stat(self) -> os.stat_result:
        """Of the open file."""
        return os.fstat(self._fd)

    def close(self) -> None:
        """Close it."""
        self._stop()
        os.close(self._fd)

    def _stop(self) -> None:
        for opened in (self._reader, self._raw):
            if opened is not None:
                opened.close()

    def _restart(self) -> None:
        self._stop()
        self._raw = os.fdopen(os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC), "rb")
        self._reader = gzip.GzipFile(fileobj=self._raw, mode="rb") if self._codec == "gz" else zstd(self._raw)
        self._begin, self._buffer, self._failed = 0, b"", None


@dataclass(frozen=True, slots=True)
class Head:
    """How a file begins: the first bytes (decompressed), how it is compressed, and whether it is no text at all."""

    prefix: bytes
    codec: str
    binary: bool

    @property
    def telling(self) -> bool:
        """Whether there is enough to know it by: a whole line, or as much as is ever looked at."""
        return b"\n" in self.prefix or len(self.prefix) == HEAD


def open_file(path: str, codec: str = "") -> Handle:
    """Open a file, never waiting for anyone at the other end. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    return Packed(fd, codec) if codec else Plain(fd)


def head(path: str, key: Key) -> Head:
    """How a file begins. Raises OSError, FileNotFoundError also where another file has the name by now. A compressed file that is
    not yet long enough to be read has an empty prefix.
    """
    plain = open_file(path)
    try:
        found = plain.stat()
        if (found.st_dev, found.st_ino) != key:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        raw = plain.pread(4 * HEAD, 0)
    finally:
        plain.close()
    codec = _MAGIC.get(raw[:2], "")
    if not codec:
        return Head(raw[:HEAD], "", b"\0" in raw)
    packed = open_file(path, codec)
    try:
        prefix = packed.pread(HEAD, 0)
    except DAMAGED:
        prefix = b""
    finally:
        packed.close()
    return Head(prefix, codec, b"\0" in prefix)


def end_of_lines(path: str, size: int) -> int:
    """Where the last whole line of the first `size` bytes ends; `size` where none does for long. Raises OSError."""
    handle = open_file(path)
    try:
        begin = max(0, size - _PIECE)
        cut = handle.pread(size - begin, begin).rfind(b"\n") + 1
    finally:
        handle.close()
    return begin + cut if cut else size


def digest(data: bytes) -> str:
    """A short hash."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
