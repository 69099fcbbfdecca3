"""The bytes of one file, plain or compressed, and the few at its beginning that tell it from others."""

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
        self._reader: IO[bytes] | gzip.GzipFile | None = None
        self._begin, self._buffer = 0, b""

    def pread(self, size: int, at: int) -> bytes:
        """Bytes at a place."""
        if self._reader is None or at < self._begin:
            self._restart()
        while (missing := at + size - self._begin - len(self._buffer)) > 0:
            reached = self._begin + len(self._buffer)
            piece = self._reader.read(min(missing, _PIECE)) if self._reader else b""
            if not piece:
                break
            if reached + len(piece) <= at:
                self._begin, self._buffer = reached + len(piece), b""
            else:
                self._buffer += piece
        return self._buffer[at - self._begin : at - self._begin + size] if at >= self._begin else b""

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
        os.close(self._fd)

    def _restart(self) -> None:
        raw = os.fdopen(os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC), "rb")
        self._reader = gzip.GzipFile(fileobj=io.BufferedReader(raw), mode="rb") if self._codec == "gz" else zstd(raw)
        self._begin, self._buffer = 0, b""


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


def head(path: str) -> Head:
    """How a file begins. Raises OSError. A compressed file that is not yet long enough to be read has an empty prefix."""
    plain = open_file(path)
    try:
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


def digest(data: bytes) -> str:
    """A short hash."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
