"""SQLite files of ours: whose a file is and of which version, how it is opened, what is refused, and errors in words.

Whose a file is, and of which version, stands in its header (`application_id`, `user_version`) and is read without SQLite:
without a lock and without a trace. SQLite could be asked with `immutable=1`, but that leaves the write-ahead log aside: where a
process died, or met a full disk, while the log was copied into the file, a sound database is then called malformed.

A process that closes any descriptor of a file loses all its POSIX locks on it, SQLite's too: the next program that closes the
database would then take itself for the last one and delete the write-ahead log under our feet. So a file that this process has
open is not read but left to SQLite, which knows how to close it.
"""

import contextlib
import os
import sqlite3
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">60x i 4x i")
"""User version and application id, https://www.sqlite.org/fileformat.html#the_database_header."""
_ADVICE = {
    "BUSY": "another process holds it; nothing of it was kept and it may be tried again",
    "LOCKED": "another process holds it; nothing of it was kept and it may be tried again",
    "FULL": "nothing of it was kept; make room on the disk, then it may be tried again",
    "READONLY": f"user {os.getuid()} may not write there; give it the file and its folder, or name another",
    "CANTOPEN": f"give user {os.getuid()} the file and its folder, or name another",
    "Permission": f"give user {os.getuid()} the file and its folder, or name another",
    "Unicode": "it holds bytes that are no text: type them anew",
}
_DAMAGED = ("CORRUPT", "NOTADB")

_File = tuple[int, int]
_open: Counter[_File] = Counter()
"""Connections of this process, by device and number of the file."""
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Database:
    """A file at `path` that people know by a `name`, such as store. `application` is its mark, `version` the newest that is
    known, and `damaged` what to do with one that is.
    """

    path: Path
    name: str
    application: int
    version: int
    damaged: str

    def open(self, patience: float, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        """The database, made where there is none and then prepared; its calls wait `patience` seconds for a lock and may come
        from any thread. Raises StoreError for one that is not ours or of a newer version; it stays untouched.
        """
        with self.said("opening"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_what_is_not_ours()
            database = _connect(self.path, patience)
        try:
            with self.said("opening"):
                prepare(database)
        except StoreError:
            database.close()
            raise
        return database

    @contextlib.contextmanager
    def said(self, doing: str) -> Iterator[None]:
        """SQLite's and the system's errors as ours, StoreError."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise StoreError(f"{doing} the {self.name} {self.path}: {error}; {self._advice(error)}") from error

    def refuse_newer(self, version: int) -> None:
        """Raises StoreError for a version that is not known yet."""
        if version > self.version:
            raise StoreError(
                f"opening the {self.name} {self.path}: it is of version {version} and this Headwater knows versions up to "
                f"{self.version}; it was left as it is: use the newer Headwater, or name another place"
            )

    def _refuse_what_is_not_ours(self) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            return
        application, version = _marks(self.path) or (None, 0)
        if application != self.application:
            what = "no database" if application is None else "another program's database"
            raise StoreError(
                f"opening the {self.name} {self.path}: it is {what} and was left as it is; move it away or name another place"
            )
        self.refuse_newer(version)

    def _advice(self, error: Exception) -> str:
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        if any(word in name for word in _DAMAGED):
            return f"the file is damaged: {self.damaged}"
        return next((text for word, text in _ADVICE.items() if word in name), "nothing of it was kept and it may be tried again")


@contextlib.contextmanager
def whole(database: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """A transaction: all or nothing; one state of the database for everything that is read within."""
    database.execute(begin)
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk may have rolled it back already
            database.execute("ROLLBACK")
        raise


class _Connection(sqlite3.Connection):
    """A connection that says when it is closed."""

    file: _File | None = None

    def close(self) -> None:
        """Close it; again does nothing."""
        with _lock:
            super().close()
            if self.file is not None:
                _open[self.file] -= 1
                self.file = None


def _connect(path: Path, patience: float) -> _Connection:
    """A connection to a file, made where there is none, in no transaction and for every thread. Raises sqlite3.Error."""
    with _lock:
        database = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False, factory=_Connection)
        database.file = _number(path)
        _open[database.file] += 1
    return database


def _number(path: Path) -> _File:
    found = path.stat()
    return found.st_dev, found.st_ino


def _marks(path: Path) -> tuple[int, int] | None:
    """Application id and user version of a file; None for one that is no database."""
    with _lock:
        if _open[_number(path)]:
            with contextlib.closing(sqlite3.connect(path)) as database:
                return _asked(database, "application_id"), _asked(database, "user_version")
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        return None
    version, application = _HEADER.unpack(header)
    return application, version


def _asked(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])
