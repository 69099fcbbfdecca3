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
        self._families: defaultdict[tuple[str, str], dict[str, list[File]]] = defaultdict(dict)
        """By the log, then by the name that they have now."""
        self._unmet: set[File] = set()
        """Those known from a position that were not met since."""
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
            self._unmet.add(file)
            self._places[file.key] = file
            self._called(file)
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
        self._called(file)
        self.keep(file)

    def rename(self, file: File, path: str) -> None:
        """A file has another path now."""
        self._uncalled(file)
        file.path = path
        self._called(file)

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
        alike = [file for file in self._candidates(found, head) if file.is_of(head)]
        if not alike:
            return False
        original = min(alike, key=lambda file: (file not in self.missing, file.listed, file in self._twins))
        self._twins[original][found.key] = (found, head.codec)
        return True

    def _candidates(self, found: Found, head: Head) -> list[File]:
        """A compressed file may be any of its log, a plain one only what it is named after: two logs may begin with the same
        lines. A file that was not met since the start may have come back under its name with another identity.
        """
        log = family_of(found.path)
        family = self._families.get(log, {})
        if head.codec:
            return [file for files in family.values() for file in files]
        name = names.last(found.path)
        named = [file for known in names.bases(name) - {name} for file in family.get(known, ())]
        unmet = [file for file in self._unmet if found.size >= file.offset and file.family == log]
        return list(dict.fromkeys([*named, *unmet]))

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
        if file.restored:
            self._unmet.add(file)
        self._places[file.key] = file

    def forget(self, file: File) -> None:
        """The file is gone and read."""
        self._unkey(file)
        self._twins.pop(file, None)
        self._uncalled(file)
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
        self.rename(file, found.path)
        file.key, file.codec = found.key, codec
        file.size, file.modified = found.size, found.modified
        file.listed, file.blind, file.restored, file.truncated = True, 0, False, False
        self.files[file.key] = file
        self.keep(file)

    def _called(self, file: File) -> None:
        self._families[file.family].setdefault(names.last(file.path), []).append(file)

    def _uncalled(self, file: File) -> None:
        family, name = self._families[file.family], names.last(file.path)
        family[name].remove(file)
        if not family[name]:
            del family[name]
        if not family:
            del self._families[file.family]

    def _unkey(self, file: File) -> None:
        for known in (self.files, self._places):
            if known.get(file.key) is file:
                del known[file.key]
        self.missing.pop(file, None)
        self._unmet.discard(file)


def _stands(found: Found) -> bool:
    """Whether a file is still there."""
    try:
        stat = os.stat(found.path)  # noqa: PTH116 (as everywhere beside it)
    except OSError:
        return False
    return (stat.st_dev, stat.st_ino) == found.key
