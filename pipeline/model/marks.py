"""Whose an SQLite file is and of which version, read without SQLite: without a lock and without a trace.

SQLite could be asked with `immutable=1`, but that leaves the write-ahead log aside: where a process died, or met a full disk,
while the log was copied into the file, a sound database is then called malformed.
"""

import struct
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">60x i 4x i")
"""User version and application id, https://www.sqlite.org/fileformat.html#the_database_header."""


def of(path: Path) -> tuple[int, int] | None:
    """Application id and user version of a file; None for one that is no database. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        return None
    version, application = _HEADER.unpack(header)
    return application, version
