"""One followed file: who it is, how far it was read, and the next whole records of it."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.followed import names
from connectors.followed.content import HEAD, Handle, Head, Key, digest, head, open_file
from pipeline.contracts.source import LONGEST
from pipeline.model.stream import Stream

OPEN = 512
"""Descriptors kept open: where more files are busy, those read longest ago are opened anew by their names."""


@dataclass(slots=True, eq=False)
class File:
    """A file by identity. It stays the same through a new name, and when its bytes go on in a copy or a compressed file."""

    stream: Stream
    path: str
    key: Key
    length: int
    print: str
    """Its first `length` bytes, hashed: whether a file is this one."""
    codec: str = ""
    offset: int = 0
    done: bool = False
    """A compressed file read to its end: it never grows."""
    listed: bool = False
    """Whether it stands in its folder under its path."""
    size: int = 0
    """Bytes it had when last looked at (as they are on disk)."""
    modified: int = 0
    grown: float = 0.0
    blind: int = 0
    """Bytes behind `offset` known to hold no end of a line."""
    restored: bool = False
    """Known from a position, and not met since."""
    truncated: bool = False
    cutting: bool = False
    """In the midst of a line too long to be kept whole."""
    older: "File | None" = None
    """A file of the same log to be read first."""

    @property
    def family(self) -> tuple[str, str]:
        """The log it is a part of: the folder and the name before any rotation."""
        return family_of(self.origin)

    @property
    def origin(self) -> str:
        """The path under which it was first met."""
        return self.stream.id.rpartition("#")[0]

    @property
    def unread(self) -> int:
        """Bytes known to be unread; of a compressed file nobody knows."""
        return 0 if self.codec else max(0, self.size - self.offset)

    def is_of(self, found: Head) -> bool:
        """Whether a file that begins so has this one's bytes."""
        return len(found.prefix) >= self.length and digest(found.prefix[: self.length]) == self.print

    def is_other(self, path: str, *, size: int, modified: int) -> bool:
        """Whether its inode serves another file by now, or it was truncated; only one that has changed is looked into."""
        if (size, modified) == (self.size, self.modified):
            return False
        try:
            return not self.is_of(head(path, self.key))
        except OSError:
            return False

    def is_double(self, path: str, here: Mapping[str, Key]) -> bool:
        """Whether a path is a second name of it: the first is still there, in this folder (`here`: what it holds) or another."""
        if path == self.path:
            return False
        return here.get(self.path) == self.key or (self.listed and not names.beside(self.path, path))

    def saved(self) -> list[Any]:
        """What a position keeps of it; `restored` is the way back."""
        return [self.path, *self.key, self.length, self.print, self.codec, self.offset, self.size, self.done]


def family_of(path: str) -> tuple[str, str]:
    """The log that a path is a part of."""
    folder, _, name = path.rpartition("/")
    return folder, names.family(name)


def restored(stream: Stream, saved: list[Any]) -> File:
    """A file as a position has it. Raises ValueError or TypeError where it has not."""
    path, device, inode, length, fingerprint, codec, offset, size, done = saved
    key = (int(device), int(inode))
    file = File(stream, str(path), key, int(length), str(fingerprint), str(codec), int(offset), bool(done), restored=True)
    file.size = int(size)
    return file


@dataclass(frozen=True, slots=True)
class Taken:
    """Whole records of a file; `cut`: a line too long was cut here; `changed`: the file is no longer the one it was."""

    data: bytes = b""
    cut: bool = False
    changed: bool = False


class Handles:
    """Open files, the most recently used of them."""

    def __init__(self) -> None:
        self._open: OrderedDict[File, Handle] = OrderedDict()

    def get(self, file: File) -> Handle | None:
        """The file if it is open."""
        return self._open.get(file)

    def opened(self, file: File) -> Handle | None:
        """The file, opened by its name if need be; None where another file has the name. Raises OSError."""
        handle = self._open.get(file)
        if handle is None:
            handle = open_file(file.path, file.codec)
            found = handle.stat()
            if (found.st_dev, found.st_ino) != file.key:
                handle.close()
                return None
            self._open[file] = handle
            if len(self._open) > OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(file)
        return handle

    def close(self, file: File) -> None:
        """Close a file."""
        if handle := self._open.pop(file, None):
            handle.close()

    def close_all(self) -> None:
        """Close every file."""
        for file in list(self._open):
            self.close(file)


def take(file: File, handle: Handle, size: int) -> Taken:
    """The next whole records, about `size` bytes; moves the offset. Raises OSError, or what a damaged file raises."""
    begin = file.offset + file.blind
    data = handle.pread(size, begin)
    if not file.codec and not _same(file, handle):
        return Taken(changed=True)
    cut = data.rfind(b"\n") + 1
    if cut:
        data = data if cut == len(data) else data[:cut]
        data = handle.pread(file.blind, file.offset) + data if file.blind else data
        file.cutting = False
        return _taken(file, handle, data)
    file.blind += len(data)
    if file.blind >= LONGEST:
        first, file.cutting = not file.cutting, True
        taken = _taken(file, handle, handle.pread(LONGEST, file.offset))
        return Taken(taken.data, cut=first)
    if file.codec and not data:
        file.done = True
        return rest(file, handle)
    return Taken()


def rest(file: File, handle: Handle) -> Taken:
    """What stands behind the last end of a line, of a file that will not grow any more."""
    return _taken(file, handle, handle.pread(file.blind, file.offset) if file.blind else b"")


def _taken(file: File, handle: Handle, data: bytes) -> Taken:
    file.offset, file.blind = file.offset + len(data), 0
    handle.forget(file.offset)
    return Taken(data)


def _same(file: File, handle: Handle) -> bool:
    """Whether the file still begins as it did; a fingerprint of few bytes grows with the file."""
    prefix = handle.pread(HEAD, 0)
    if len(prefix) < file.length or digest(prefix[: file.length]) != file.print:
        return False
    if len(prefix) > file.length:
        file.length, file.print = len(prefix), digest(prefix)
    return True
