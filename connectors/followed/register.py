"""Which file is which: by device and inode as long as these stay, by its first bytes when a file was copied or compressed.

A file that begins like one that is known, and whose name says that it was rotated out of the same log, is a *twin*: it is not
read as long as the original can be, and takes its place when the original is gone.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.followed.content import Head, Key, digest
from connectors.followed.file import File, restored
from connectors.followed.folders import Found
from connectors.followed.names import bases
from pipeline.model.stream import Stream


REMEMBERED = 256


class Register:
    """All files that are known, and what a position keeps of them."""

    def __init__(self) -> None:
        self.files: dict[Key, File] = {}
        self.missing: dict[Key, File] = {}
        """Files of the position that were not met again yet."""
        self.entries: dict[str, list[Any]] = {}
        self.used: dict[str, int] = {}
        """Names of files forgotten last: inodes serve again soon, and some programs begin every file with the same line."""
        self._families: defaultdict[tuple[str, str], list[File]] = defaultdict(list)
        self._twins: dict[File, tuple[Found, str]] = {}

    def load(self, streams: Mapping[str, Stream], entries: Mapping[str, list[Any]], used: Mapping[str, int]) -> None:
        """Take over what a position keeps. Raises ValueError or TypeError."""
        self.used = dict(used)
        for name, entry in entries.items():
            file = restored(streams[name], entry)
            self.missing[file.key] = file
            self._families[file.family].append(file)
            self.entries[name] = list(entry)

    def name(self, path: str, head: Head, key: Key) -> str:
        """A stream id for a new file: its path, its first line and its inode, and a number where all these were used before."""
        line = head.prefix[: head.prefix.find(b"\n") + 1] or head.prefix
        name = f"{path}#{digest(line)}.{key[1]:x}"
        number = self.used.get(name, 0) + 1
        while (unique := f"{name}.{number}") in self.entries:
            number += 1
        return unique

    def add(self, file: File) -> None:
        """A new file."""
        self.files[file.key] = file
        family = self._families[file.family]
        file.older = family[-1] if family else None
        family.append(file)
        self.keep(file)

    def met(self, found: Found, head: Head) -> File | None:
        """The file of the position that this is, with the same identity as then."""
        file = self.missing.get(found.key)
        if file is None or not file.is_of(head) or (not head.codec and found.size < file.offset):
            return None
        self._put(file, found, head.codec)
        return file

    def is_twin(self, found: Found, head: Head) -> bool:
        """Whether it is a copy of a known file, which is remembered; without a rotated name only a missing one can be meant."""
        folder, _, name = found.path.rpartition("/")
        alike = [file for known in bases(name) for file in self._families.get((folder, known), ()) if file.is_of(head)]
        alike = [file for file in alike if file.key in self.missing or name != file.family[1]]
        if not alike:
            return False
        original = min(alike, key=lambda file: (file.key not in self.missing, file.listed, file in self._twins))
        self._twins[original] = (found, head.codec)
        return True

    def adopt(self, file: File) -> bool:
        """Go on in the file's twin, if it has one."""
        twin = self._twins.pop(file, None)
        if twin is None or twin[0].key in self.files or not _stands(twin[0]):
            return False
        self._put(file, *twin)
        return True

    def forget(self, file: File) -> None:
        """The file is gone and read."""
        self._unkey(file)
        self._twins.pop(file, None)
        self._families[file.family].remove(file)
        if not self._families[file.family]:
            del self._families[file.family]
        self.entries.pop(file.stream.id, None)
        name, _, number = file.stream.id.rpartition(".")
        self.used.pop(name, None)
        self.used[name] = int(number)
        if len(self.used) > REMEMBERED:
            del self.used[next(iter(self.used))]

    def keep(self, file: File) -> None:
        """Note for the position how far a file was read."""
        self.entries[file.stream.id] = file.saved()

    def missing_in(self, folder: str) -> Iterator[File]:
        """The files that were in a folder and are not met yet."""
        return (file for file in list(self.missing.values()) if file.path.rpartition("/")[0] == folder)

    def _put(self, file: File, found: Found, codec: str) -> None:
        self._unkey(file)
        file.key, file.path, file.codec = found.key, found.path, codec
        file.size, file.modified = found.size, found.modified
        file.listed, file.blind = True, 0
        self.files[file.key] = file
        self.keep(file)

    def _unkey(self, file: File) -> None:
        for known in (self.files, self.missing):
            if known.get(file.key) is file:
                del known[file.key]


def _stands(found: Found) -> bool:
    """Whether a file is still there."""
    try:
        stat = os.stat(found.path)  # noqa: PTH116 (as everywhere beside it)
    except OSError:
        return False
    return (stat.st_dev, stat.st_ino) == found.key
