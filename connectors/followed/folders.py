"""Which files there are: folders that are looked at again when they have changed, a few at a time.

A folder is looked at every `EVERY` seconds at the most and read only when its time of change is another. Each folder is watched
once, whatever links lead to it, so links in a circle end by themselves.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connectors.followed.content import Key
from connectors.followed.names import Wanted, bases, excluded

EVERY = 2.0
AT_ONCE = 64
"""Folders looked at in one call."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a folder."""

    path: str
    key: Key
    size: int
    modified: int


@dataclass(slots=True)
class Folder:
    """A watched folder and what was in it when it was last read."""

    path: str
    due: float = float("-inf")
    key: Key | None = None
    changed: int = -1
    settled: bool = False
    """Whether it was read once more after a change: what changes within one tick of the kernel's clock shows no new time."""
    names: set[str] = field(default_factory=set)
    """Files wanted here though no pattern says so: links elsewhere lead to them."""
    keys: set[Key] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder as it was read: the files that are wanted, oldest first, and those that went since it was read before."""

    folder: str
    files: Sequence[Found] = ()
    gone: frozenset[Key] = frozenset()
    strange: Sequence[str] = ()
    """Pipes, sockets and devices where files are wanted."""
    error: OSError | None = None
    """Why it could not be read."""


class Folders:
    """All watched folders. `links` are the files that links lead to, with the link."""

    def __init__(self, wants: Sequence[Wanted], exclude: Sequence[str]) -> None:
        self._wants, self._exclude = wants, exclude
        self._roots = frozenset(want.root for want in wants)
        self._folders = {root: Folder(root) for root in sorted(self._roots)}
        self._turns = deque(self._folders)
        self._known: dict[Key, str] = {}
        self.links: dict[str, str] = {}

    def look(self, now: float, *, everything: bool = False) -> Iterator[Listing]:
        """The folders that changed, out of those whose turn it is. What is new in them has its turn at once."""
        taken = 0
        while self._turns and (everything or taken < AT_ONCE):
            folder = self._folders.get(self._turns[0])
            if folder is not None and folder.due > now:
                return
            path = self._turns.popleft()
            taken += 1
            if folder is None:
                continue
            folder.due = now + EVERY
            listing = self._look(folder)
            if path in self._folders:
                self._turns.append(path)
            if listing:
                yield listing

    def hurry(self, path: str) -> Listing | None:
        """Read one folder now, changed or not."""
        self.wait(path)
        return self._look(self._folders[path]) if path in self._folders else None

    def wait(self, path: str) -> None:
        """Read a folder at its next turn, changed or not: something in it could not be read."""
        if path in self._folders:
            self._folders[path].changed = -1

    def _look(self, folder: Folder) -> Listing | None:
        try:
            found = os.stat(folder.path)  # noqa: PTH116 (a Path for every look would cost more than the look)
            if self._is_double(folder, (found.st_dev, found.st_ino)):
                return None
            unchanged = found.st_mtime_ns == folder.changed
            if unchanged and folder.settled:
                return None
            folder.changed, folder.settled = found.st_mtime_ns, unchanged
            return self._read(folder)
        except OSError as error:
            return self._lost(folder, error)

    def _is_double(self, folder: Folder, key: Key) -> bool:
        """Whether the folder is watched already by another path; then that one takes its wishes over."""
        if folder.key not in (None, key):
            self._known.pop(folder.key, None)
        folder.key = key
        path = self._known.setdefault(key, folder.path)
        if path == folder.path:
            return False
        self._want(path, folder.names)
        del self._folders[folder.path]
        return True

    def _want(self, path: str, names: set[str]) -> None:
        folder = self._folders.get(path)
        if folder is None:
            folder = self._folders[path] = Folder(path)
            self._turns.appendleft(path)
        if not names <= folder.names:
            folder.names |= names
            folder.changed = -1

    def _lost(self, folder: Folder, error: OSError) -> Listing:
        gone, folder.keys, folder.changed = frozenset(folder.keys), set(), -1
        if folder.key:
            self._known.pop(folder.key, None)
            folder.key = None
        if folder.path not in self._roots and isinstance(error, FileNotFoundError | NotADirectoryError):
            del self._folders[folder.path]
        return Listing(folder.path, gone=gone, error=error)

    def _read(self, folder: Folder) -> Listing:
        files: list[Found] = []
        strange: list[str] = []
        with os.scandir(folder.path) as entries:
            for entry in entries:
                path = f"{folder.path.rstrip('/')}/{entry.name}"
                if not excluded(path, self._exclude):
                    self._sort(entry, path, folder.names, files, strange)
        keys = {file.key for file in files}
        gone, folder.keys = frozenset(folder.keys - keys), keys
        return Listing(folder.path, sorted(files, key=lambda file: file.modified), gone, strange)

    def _sort(self, entry: os.DirEntry[str], path: str, names: set[str], files: list[Found], strange: list[str]) -> None:
        try:
            found = entry.stat()
        except OSError:  # a link to nothing, or gone since
            return
        if stat.S_ISDIR(found.st_mode):
            if path not in self._folders and any(want.enters(path) for want in self._wants):
                self._want(path, set())
        elif names.isdisjoint((entry.name, *bases(entry.name))) and not any(want.takes(path) for want in self._wants):
            return
        elif not stat.S_ISREG(found.st_mode):
            strange.append(path)
        elif entry.is_symlink():
            real = os.path.realpath(path)
            self.links[real] = path
            self._want(os.path.dirname(real), {os.path.basename(real)})  # noqa: PTH119, PTH120 (as above)
        else:
            files.append(Found(path, (found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns))
