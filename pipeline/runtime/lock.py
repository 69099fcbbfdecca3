"""One process a state folder: the second is told who the first is."""

import fcntl
import os
from pathlib import Path

from pipeline.errors import StateError


class Lock:
    """Held from `Lock(folder)` to `close`, or to the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where there is none. Raises StateError."""
        path = folder / "lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StateError(f"using the state folder {folder}: {error.strerror}; name another as `state`") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StateError(
                f"using the state folder {folder}: the process {holder} already does; end it, or name another as `state`"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
