"""Which file is which: by device and inode as long as these stay, by its first bytes when a file was copied or compressed.

A file that begins like one that is known, and whose name says that it was rotated out of the same log, is a *twin*: it is not
read as long as the original can be, and takes its place when the original is gone.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.followed import names
from connectors.followed.content import Head, Key, digest
from connectors.followed.file import File, family_of, restored
from connectors.followed.folders import Found
from pipeline.model.stream import Stream

REMEMBERED = 256


class Register:
    """All files that are known, and what a position keeps of them."""

    def __init__(self) -> None:
        self.files: dict[Key, File] = {}
        self.missing: dict[File, float] = {}
        """Files whose bytes are not where they were, and since when."""
        self.entries: dict[str, list[Any]] = {}
        self.used: dict[str, int] = {}
        """Names of files forgotten last: inodes serve again soon, and some programs begin every file with the same line."""
        self._families: defaultdict[tuple[str, str], list[File]] = defaultdict(list)
        self._newest: dict[str, File] = {}
        self._places: dict[Key, File] = {}
        """Where the missing ones were."""
        self._twins: defaultdict[File, dict[Key, tuple[Found, str]]] = defaultdict(dict)

    def load(self, streams: Mapping[str, Stream], entries: Mapping[str, list[Any]], used: Mapping[str, int]) -> None:
        """Take over what a position keeps. Raises ValueError or TypeError."""
        self.used = dict(used)
        for name, entry in entries.items():
            file = restored(streams[name], entry)
            self.missing[file] = float("-inf")
            self._places[file.key] = file
            self._families[file.family].append(file)
            self.queue(file)
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
        self._families[file.family].append(file)
        self.keep(file)

    def queue(self, file: File) -> None:
        """Have a new file read behind those of the same log that came before it."""
        log = names.base(file.origin)
        file.older = self._newest.get(log)
        self._newest[log] = file

    def met(self, found: Found, head: Head) -> File | None:
        """The missing file that this is, with the same identity as before."""
        file = self._places.get(found.key)
        if file is None or not file.is_of(head) or (not head.codec and found.size < file.offset):
            return None
        self._put(file, found, head.codec)
        return file

    def is_twin(self, found: Found, head: Head) -> bool:
        """Whether it is a copy of a known file, which is remembered."""
        family = self._families.get(family_of(found.path), ())
        alike = [file for file in family if self._may_stand_for(found, head, file) and file.is_of(head)]
        if not alike:
            return False
        original = min(alike, key=lambda file: (file not in self.missing, file.listed, file in self._twins))
        self._twins[original][found.key] = (found, head.codec)
        return True

    def _may_stand_for(self, found: Found, head: Head, file: File) -> bool:
        """A compressed file for any, a plain one only for what it is named after: two logs may begin with the same lines.
        A file that was not met since the start may have come back under its name with another identity.
        """
        if head.codec or names.is_named_after(found.path, file.path):
            return True
        return file.restored and file in self.missing and found.size >= file.offset

    def adopt(self, file: File) -> bool:
        """Go on in a twin of the file, if it has one: a plain one first, for a compressed one may not be finished yet."""
        twins = self._twins.pop(file, {})
        standing = [twin for twin in twins.values() if twin[0].key not in self.files and _stands(twin[0])]
        if not standing:
            return False
        chosen = min(standing, key=lambda twin: bool(twin[1]))
        self._put(file, *chosen)
        self._twins[file] = {found.key: (found, codec) for found, codec in standing if found is not chosen[0]}
        return True

    def miss(self, file: File, now: float) -> None:
        """Its bytes are not where they were."""
        since = self.missing.get(file, now)
        self._unkey(file)
        self.missing[file] = since
        self._places[file.key] = file

    def forget(self, file: File) -> None:
        """The file is gone and read."""
        self._unkey(file)
        self._twins.pop(file, None)
        self._families[file.family].remove(file)
        if not self._families[file.family]:
            del self._families[file.family]
        if self._newest.get(names.base(file.origin)) is file:
            del self._newest[names.base(file.origin)]
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
        """The missing files that were in a folder."""
        return (file for file in list(self.missing) if file.path.rpartition("/")[0] == folder)

    def _put(self, file: File, found: Found, codec: str) -> None:
        self._unkey(file)
        file.key, file.path, file.codec = found.key, found.path, codec
        file.size, file.modified = found.size, found.modified
        file.listed, file.blind, file.restored, file.truncated = True, 0, False, False
        self.files[file.key] = file
        self.keep(file)

    def _unkey(self, file: File) -> None:
        for known in (self.files, self._places):
            if known.get(file.key) is file:
                del known[file.key]
        self.missing.pop(file, None)


def _stands(found: Found) -> bool:
    """Whether a file is still there."""
    try:
        stat = os.stat(found.path)  # noqa: PTH116 (as everywhere beside it)
    except OSError:
        return False
    return (stat.st_dev, stat.st_ino) == found.key
