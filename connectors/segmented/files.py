"""Segment files: bytes at a place, whether the file is still plain or already compressed.

A compressed segment is an ordinary Zstandard file (`zstd -dc` reads it): every `BLOCK` bytes are one frame, and in front of each
stands a skippable frame that holds its compressed size, so that a reader gets anywhere without decompressing what lies before.
"""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

BLOCK = 1 << 20
LEVEL = 1
_SKIP = struct.Struct("<III")
_SKIPPABLE = 0x184D2A57
PLAIN, PACKED, UNFINISHED = ".log", ".log.zst", ".unfinished"


@dataclass(slots=True)
class Segment:
    """A part of the log. `start` is the position of its first byte in the whole log, `size` its bytes uncompressed, `stored`
    those on disk, `newest` when its last row was appended (the file's time of modification keeps it over restarts).
    """

    folder: Path
    start: int
    size: int
    stored: int
    newest: float
    packed: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.start:020d}{PACKED if self.packed else PLAIN}"

    @property
    def end(self) -> int:
        """The position behind its last byte."""
        return self.start + self.size


def listed(folder: Path) -> list[Segment]:
    """The segments in a folder, oldest first. What a death left half compressed is removed: its plain file is still there."""
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink()
    found: dict[int, Segment] = {}
    for path in sorted(folder.glob(f"*{PLAIN}*")):
        name, _, _ = path.name.partition(".")
        if not name.isdigit() or path.name not in (name + PLAIN, name + PACKED):
            continue
        packed, stat = path.name.endswith(PACKED), path.stat()
        if packed and int(name) in found:
            found[int(name)].path.unlink()
        size = View(path, packed=True).size() if packed else stat.st_size
        found[int(name)] = Segment(folder, int(name), size, stat.st_size, stat.st_mtime, packed)
    return [found[start] for start in sorted(found)]


@dataclass(slots=True)
class View:
    """An open segment file for reading. It goes on reading what it opened even when the file has been compressed or dropped."""

    path: Path
    packed: bool
    _fd: int = -1
    _blocks: list[tuple[int, int]] = field(default_factory=list)
    _last: tuple[int, bytes] = (-1, b"")

    def read(self, at: int, size: int) -> bytes:
        """The uncompressed bytes at a place, as many as there are. Raises OSError or ZstdError."""
        if self._fd < 0:
            self._open()
        if not self.packed:
            return os.pread(self._fd, size, at)
        first, last = at // BLOCK, min((at + size - 1) // BLOCK, len(self._blocks) - 1)
        data = b"".join(self._block(number) for number in range(first, last + 1))
        return data[at - first * BLOCK : at - first * BLOCK + size]

    def size(self) -> int:
        """The uncompressed bytes of a compressed file."""
        try:
            self._open()
            return (len(self._blocks) - 1) * BLOCK + len(self._block(len(self._blocks) - 1)) if self._blocks else 0
        finally:
            self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        at = 0
        while self.packed and len(head := os.pread(self._fd, _SKIP.size, at)) == _SKIP.size:
            stored = _SKIP.unpack(head)[2]
            self._blocks.append((at + _SKIP.size, stored))
            at += _SKIP.size + stored

    def _block(self, number: int) -> bytes:
        if self._last[0] != number:
            at, stored = self._blocks[number]
            self._last = (number, zstandard.ZstdDecompressor().decompress(os.pread(self._fd, stored, at)))
        return self._last[1]


def pack(segment: Segment) -> Path:
    """Compress a segment into a file beside it, which is whole and on disk when this returns; nobody knows of it yet."""
    target = segment.path.with_suffix(UNFINISHED)
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    with segment.path.open("rb") as source, target.open("wb") as out:
        while block := source.read(BLOCK):
            stored = compressor.compress(block)
            out.write(_SKIP.pack(_SKIPPABLE, 4, len(stored)) + stored)
        out.flush()
        os.fsync(out.fileno())
    os.utime(target, (segment.newest, segment.newest))
    return target


def sync_folder(folder: Path) -> None:
    """Names that were made or changed in a folder stay after a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
