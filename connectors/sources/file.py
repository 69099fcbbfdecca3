"""Followed files: log files as they are written, through every kind of rotation.

Guarantees: every whole line that was written is given once, in the order of the file; what was removed before it could be read is
reported as a gap. A file is known by device and inode and by its first bytes, not by its name, so renaming (logrotate's
`create`, kubelet), `copytruncate` and compression (`.gz`, `.zst`) are followed, also where they happened while nobody read: the
unread rest is then looked for among the rotated files beside the log. A file that is gone is read to its end as long as its
descriptor is open. An unfinished last line waits for its end.

Files that are there at the very first start are followed from their end, for an incident of last week is nobody's emergency
(`start: beginning` reads them, with what was rotated from them); files that come later are read from their beginning.

Limits: `OPEN` descriptors; a file that is quiet is looked at in turn (`QUIET` of them a poll), so that ten thousand cost
little. Bytes that `copytruncate` loses between copying and truncating are lost to everyone. Where every file of a log begins with
the same 256 bytes, copies are told apart by their names alone. Compression by bzip2 or xz is not read.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from connectors.followed import content, names
from connectors.followed.content import Head, Key
from connectors.followed.file import File, Handles, Taken, rest, take
from connectors.followed.folders import Folders, Found, Listing
from connectors.followed.register import Register
from connectors.writer import Writer
from pipeline.contracts import Context
from pipeline.contracts.source import LONGEST, Position, SourceStatus, Trouble
from pipeline.errors import ConfigError, SourceError
from pipeline.model.stream import RawBatch, Stream

BLOCK = 8 << 20
SHARE = 256 << 10
"""Bytes of one file in a poll: at most, and at least where many have some."""
BUSY = 60.0
"""Seconds since a file grew during which every poll looks at it; a removed file is given up when it was quiet for so long."""
ACTIVE, QUIET = 2000, 128
"""Files looked at in a poll: of the busy ones, and of the others."""
PATIENCE = 10.0
"""Seconds in which the bytes of a file that is no longer there may turn up elsewhere."""
LOST = 3600.0
"""Seconds to wait for a folder that is not there (not mounted yet) before its unread files count as lost."""


class Settings(Writer):
    """What to follow, and what is known of whoever writes it (paths of Kubernetes say more by themselves)."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)]
    """Absolute: files, folders with all below them, globs."""
    exclude: tuple[str, ...] = ()
    start: Literal["end", "beginning"] = "end"


@dataclass(slots=True)
class Young:
    """A file that does not have a whole line yet, so that it cannot be known by its content."""

    path: str
    grown: float
    size: int = -1


class Followed:
    """The files that the settings name."""

    rereadable = True
    live = True

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context
        self._wants = [names.wanted(path, is_folder=path.endswith("/") or os.path.isdir(path)) for path in settings.paths]  # noqa: PTH112
        self._troubles: list[Trouble] = []
        self._wrong: dict[str, str] = {}
        self._handles = Handles()
        self._reset(begun=False)

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """What the files have grown by."""
        self._now = now
        if self._begun:
            for listing in self._folders.look(now):
                self._apply(listing)
        else:
            self._begin(now)
        for turns, number in ((self._active, ACTIVE), (self._quiet, QUIET)):
            for _ in range(min(number, len(turns))):
                self._turn(turns.popitem(last=False)[0])
        for file in [file for file, since in self._register.missing.items() if now - since > LOST]:
            self._give_up(file)
        return self._read(budget)

    def more(self) -> bool:
        """Whether a file waits for its turn."""
        return bool(self._ready)

    def position(self) -> Position:
        """Each known file, with how it is known and how far it was read."""
        begun = self._begun or not self._fresh  # also behind a `seek` that no poll has followed yet
        return {"version": 1, "begun": begun, "files": dict(self._register.entries), "used": dict(self._register.used)}

    def seek(self, position: Position) -> None:
        """Go on there."""
        self._handles.close_all()
        self._reset(begun=False)
        try:
            if position["version"] != 1:
                raise ValueError(f"version {position['version']}")  # noqa: TRY301 (one way out for all that is wrong)
            entries: Mapping[str, list[Any]] = position["files"]
            self._fresh = not position["begun"]
            self._register.load({name: self._stream(name) for name in entries}, entries, position["used"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(
                f"going on with {self._context.name}: the position is none of followed files ({error}); remove it to begin anew"
            ) from error

    def commit(self, position: Position) -> None:
        """Files are kept by whoever rotates them."""

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""
        found, self._troubles = self._troubles, []
        return found

    def status(self) -> SourceStatus:
        """Alive while one of the paths can be read."""
        waiting = sum(file.unread for file in self._ready)
        lost = [self._wrong.get(want.root) for want in self._wants]
        text = next((what for what in (*lost, *self._wrong.values()) if what), "")
        return SourceStatus(not all(lost), waiting, len(self._register.files), text)

    def finished(self) -> bool:
        """Never: a file may always grow."""
        return False

    def close(self) -> None:
        """Close all files."""
        self._handles.close_all()

    def _reset(self, *, begun: bool) -> None:
        self._begun, self._fresh = begun, True
        self._register = Register()
        self._folders = Folders(self._wants, self._settings.exclude)
        self._young: dict[Key, Young] = {}
        self._binary: set[Key] = set()
        self._refused: set[Key] = set()
        self._ready: dict[File, None] = {}
        self._last: list[RawBatch] = []
        self._active: OrderedDict[Key, None] = OrderedDict()
        self._quiet: OrderedDict[Key, None] = OrderedDict()
        self._now = 0.0

    # Which files there are.

    def _begin(self, now: float) -> None:
        """The first look at everything; only then is it known which files of the position are missing."""
        listings = list(self._folders.look(now, everything=True))
        self._sort_out(sorted((file for listing in listings for file in listing.files), key=lambda file: file.modified))
        self._begun = True
        for file in self._register.missing:
            self._register.missing[file] = now
        for listing in listings:
            self._apply(listing)
        for want in self._wants:
            if not os.path.lexists(want.top):
                self._unreadable(want.top, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _apply(self, listing: Listing) -> None:
        """Take a folder as it is now."""
        is_root = any(listing.folder in (want.root, want.top) for want in self._wants)
        if listing.error and (is_root or not isinstance(listing.error, FileNotFoundError | NotADirectoryError)):
            self._unreadable(listing.folder, listing.error)
        else:  # folders come and go with their pods
            self._mended(listing.folder)
        for path in listing.strange:
            self._say(
                "special", path, f"{path} is a pipe, socket or device: not followed; exclude it, or read it by its own source"
            )
        self._sort_out(listing.files)
        for key in listing.gone:
            self._gone(key, listing.folder)
        for file in self._register.missing_in(listing.folder) if listing.error is None else ():
            if self._register.adopt(file):
                self._begin_file(file)
            elif self._now - self._register.missing[file] >= PATIENCE and file.key not in self._refused:
                self._give_up(file)
            else:
                self._folders.wait(listing.folder)

    def _sort_out(self, found: Sequence[Found]) -> None:
        """Tell known files from new ones: first by identity, then rotated copies by their content."""
        here = {file.path: file.key for file in found}
        unknown: list[tuple[Found, Head]] = []
        reused: list[tuple[File, Found]] = []
        for file in found:
            known = self._register.files.get(file.key)
            if known is None:
                unknown += self._examined(file)
            elif known.is_other(file.path, size=file.size, modified=file.modified):
                reused.append((known, file))
            elif not known.is_double(file.path, here):
                self._renamed(known, file.path)
        self._take_in([pair for pair in unknown if not self._met(*pair)])
        for known, file in sorted(reused, key=lambda pair: not names.rotated(pair[1].path)):
            self._leave(known, truncated=self._handles.get(known) is not None)
            self._take_in(list(self._examined(file)))

    def _take_in(self, new: list[tuple[Found, Head]]) -> None:
        """Follow new files, unless they are copies of known ones."""
        added: list[File] = []
        for file, head in sorted(new, key=lambda pair: names.rotated(pair[0].path)):
            if file.key not in self._register.files and not self._register.is_twin(file, head):
                added.append(self._added(file, head))
        for known in sorted(added, key=lambda known: (not names.rotated(known.path), known.modified)):
            self._register.queue(known)

    def _examined(self, found: Found) -> Iterator[tuple[Found, Head]]:
        """The file with its head, if that tells enough."""
        if found.key in self._binary:
            return
        try:
            head = content.head(found.path, found.key)
        except FileNotFoundError:
            self._folders.wait(found.path.rpartition("/")[0])
            return
        except OSError as error:
            self._refused.add(found.key)
            self._unreadable(found.path, error)
            self._folders.wait(found.path.rpartition("/")[0])
            return
        self._refused.discard(found.key)
        self._mended(found.path)
        if head.binary:
            self._binary.add(found.key)
            self._say("binary", found.path, f"{found.path} has zero bytes at its beginning: no text, not followed (a log that is "
                      "truncated while its writer does not append looks so too)")  # fmt: skip
        elif head.telling or (head.codec and head.prefix):
            self._young.pop(found.key, None)
            yield found, head
        elif found.key in self._young:
            self._young[found.key].path = found.path
        else:
            self._young[found.key] = Young(found.path, self._now, found.size)
            self._active[found.key] = None

    def _met(self, found: Found, head: Head) -> bool:
        file = self._register.met(found, head)
        if file is not None:
            self._begin_file(file)
        return file is not None

    def _added(self, found: Found, head: Head) -> File:
        """Follow a new file."""
        stream = self._stream(self._register.name(found.path, head, found.key))
        file = File(stream, found.path, found.key, len(head.prefix), content.digest(head.prefix), head.codec, listed=True)
        file.size, file.modified = found.size, found.modified
        if self._fresh and not self._begun and self._settings.start == "end":
            file.done = bool(file.codec)
            file.offset = 0 if file.codec else content.end_of_lines(found.path, found.size)
        self._register.add(file)
        self._begin_file(file)
        return file

    def _begin_file(self, file: File) -> None:
        file.grown = self._now
        if file.codec and not file.done:
            self._ready[file] = None
        elif not file.codec:
            self._turn(file.key)

    def _renamed(self, known: File, path: str) -> None:
        known.listed = True
        if known.path != path:
            self._register.rename(known, path)
            self._register.keep(known)

    def _gone(self, key: Key, folder: str) -> None:
        """A file is no longer in a folder."""
        self._binary.discard(key)
        self._refused.discard(key)
        young = self._young.get(key)
        if young and names.beside(young.path, f"{folder}/"):
            del self._young[key]
        file = self._register.files.get(key)
        if file and names.beside(file.path, f"{folder}/"):
            file.listed = False
            self._check(file)

    # How far they have come.

    def _turn(self, key: Key) -> None:
        """Look at one file, and say when it is looked at again."""
        file = self._register.files.get(key)
        if file is not None:
            self._check(file)
        elif key in self._young:
            self._grow_up(key, self._young[key])
        known = self._register.files.get(key) or self._young.get(key)
        self._active.pop(key, None)
        self._quiet.pop(key, None)
        if known is not None and not getattr(known, "codec", ""):
            (self._active if self._now - known.grown < BUSY else self._quiet)[key] = None

    def _grow_up(self, key: Key, young: Young) -> None:
        try:
            stat = os.stat(young.path)  # noqa: PTH116 (thousands of them a second)
        except OSError:
            self._hurry(young.path)
            return
        if (stat.st_dev, stat.st_ino) != key:
            self._hurry(young.path)
        elif stat.st_size != young.size:
            young.size, young.grown = stat.st_size, self._now
            self._take_in(list(self._examined(Found(young.path, key, stat.st_size, stat.st_mtime_ns))))

    def _check(self, file: File) -> None:
        """Whether a file grew, shrank, or is gone for good."""
        stat = self._stat(file)
        if stat is None:
            if self._register.files.get(file.key) is file and not file.listed:
                self._leave(file)
        elif file.codec:
            return
        elif stat.st_size < file.offset:
            self._replaced(file)
        elif (stat.st_size, stat.st_mtime_ns) != (file.size, file.modified) or file.unread > file.blind:
            file.grown = self._now if stat.st_mtime_ns != file.modified else file.grown
            file.size, file.modified = stat.st_size, stat.st_mtime_ns
            self._ready.setdefault(file)
        elif not file.listed and self._now - file.grown >= BUSY and file not in self._ready:
            self._leave(file)

    def _stat(self, file: File) -> os.stat_result | None:
        """By its name while it has one, else by its descriptor."""
        for _ in range(2):
            if not file.listed:
                break
            try:
                stat = os.stat(file.path)  # noqa: PTH116 (thousands of them a second)
                if (stat.st_dev, stat.st_ino) == file.key:
                    return stat
            except OSError:
                pass
            self._hurry(file.path)
        handle = self._handles.get(file)
        return handle.stat() if handle else None

    def _hurry(self, path: str) -> None:
        if listing := self._folders.hurry(path.rpartition("/")[0]):
            self._apply(listing)

    def _replaced(self, file: File) -> None:
        """Other bytes stand where the file's were: it was truncated, or its inode serves another file."""
        key, path = file.key, file.path
        self._hurry(path)
        if self._register.files.get(key) is not file:
            return
        self._leave(file, truncated=True)
        self._young[key] = Young(path, self._now)
        self._active[key] = None
        self._grow_up(key, self._young[key])

    def _leave(self, file: File, *, truncated: bool = False) -> None:
        """A file's bytes are no longer where they were: go on in a copy of them. There may be none yet, or none was seen in a
        folder that changed while it was read, so a file is not given up at once.
        """
        handle = self._handles.get(file)
        if self._register.adopt(file):
            self._handles.close(file)
            self._begin_file(file)
            return
        if handle and not truncated and not file.codec:
            self._give(file, rest(file, handle), file.offset)
            if os.path.isdir(os.path.dirname(file.path)):  # noqa: PTH112, PTH120 (as everywhere beside it)
                self._give_up(file)
                return
            # With its folder it may come back, and is then not to be read again.
        self._handles.close(file)
        self._ready.pop(file, None)
        file.truncated = truncated
        self._register.miss(file, self._now)
        self._folders.wait(file.path.rpartition("/")[0])

    def _give_up(self, file: File) -> None:
        """No copy holds what a file had: forget it, and say what is lost."""
        self._handles.close(file)
        self._ready.pop(file, None)
        self._register.forget(file)
        grew = file.restored and file.path == file.origin  # nobody saw what it had when it went
        if file.unread or file.truncated or grew or (file.codec and not file.done):
            self._gap(file, None if grew or file.codec else file.unread)

    def _gap(self, file: File, size: int | None) -> None:
        what = "was truncated" if file.truncated else "was removed"
        lost = f"{size} bytes behind byte {file.offset} were not read" if size else f"what follows byte {file.offset} is lost"
        lost = lost if size != 0 else "all that is known of it was read"
        text = f"{file.path} {what}, and no rotated copy holds what it had: {lost}; keep rotated files longer"
        self._troubles.append(Trouble("gap" if size != 0 else "truncated", file.path, text, size or 0))

    # Their bytes.

    def _read(self, budget: int) -> list[RawBatch]:
        """Turn by turn, a share of the budget each; a file waits for older files of its log."""
        while self._ready and budget > 0:
            share = min(BLOCK, max(SHARE, budget // len(self._ready)))
            file = next(iter(self._ready))
            del self._ready[file]
            if file.older in self._ready:
                self._ready[file] = None
                continue
            file.older = None
            begin = file.offset + file.blind
            if data := self._take(file, share):
                budget -= len(data)
            elif file.offset + file.blind > begin:
                budget -= share
            else:
                continue
            if file.size > file.offset + file.blind if not file.codec else not file.done:
                self._ready[file] = None
        given, self._last = self._last, []
        return given

    def _take(self, file: File, size: int) -> bytes:
        offset = file.offset
        try:
            handle = self._handles.opened(file)
            if handle is None:
                self._check(file)
                return b""
            taken = take(file, handle, size)
        except FileNotFoundError:
            self._check(file)
            return b""
        except OSError as error:
            self._unreadable(file.path, error)
            return b""
        except content.DAMAGED as error:
            file.done = True
            self._handles.close(file)
            self._register.keep(file)
            self._say(
                "damaged", file.path, f"{file.path}: cut or damaged ({error}); what came before byte {file.offset} was read"
            )
            return b""
        if file.done:
            self._handles.close(file)
        if taken.changed:
            self._replaced(file)
        return self._give(file, taken, offset)

    def _give(self, file: File, taken: Taken, offset: int) -> bytes:
        if taken.cut:
            text = f"{file.path}: a line of more than {LONGEST >> 20} MiB at byte {offset} was cut"
            self._troubles.append(Trouble("cut", file.path, text))
        if taken.data:
            self._last.append(RawBatch(file.stream, taken.data, offset))
        if taken.data or file.done:
            self._register.keep(file)
        return taken.data

    def _stream(self, name: str) -> Stream:
        """What is known of whoever writes a file: its path says it, or the link to it, or the settings."""
        path = name.rpartition("#")[0]
        seen = names.identity((path, self._folders.links.get(path, "")))
        return self._settings.stream(name, cluster=self._context.cluster, **seen)

    # What went wrong.

    def _unreadable(self, path: str, error: OSError) -> None:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        self._say(kind, path, f"following {path}: {error.strerror}; it is tried again, see to its place and permissions")

    def _say(self, kind: str, subject: str, text: str) -> None:
        """Once, until it changes."""
        if self._wrong.get(subject) != text:
            self._wrong[subject] = text
            self._troubles.append(Trouble(kind, subject, text))

    def _mended(self, subject: str) -> None:
        self._wrong.pop(subject, None)


def create(settings: Settings, context: Context) -> Followed:
    """Follow files. Raises ConfigError for a path that is not absolute."""
    for path in settings.paths:
        if not path.startswith("/"):
            raise ConfigError(f"following {path} for {context.name}: the path is relative; write it with all its folders")
    return Followed(settings, context)
