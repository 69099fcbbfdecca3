"""A pipe."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from connectors.sources import stdin
from pipeline.model.stream import Stream


class Outside:
    """One pipe that outlives its readers."""

    grows = True

    def __init__(self, folder: Path) -> None:
        self.read, self.end = os.pipe()
        fcntl.fcntl(self.end, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.opened = 0

    def write(self, lines: Sequence[str]) -> None:
        os.write(self.end, "".join(f"{line}\n" for line in lines).encode())

    def open(self) -> stdin.Stdin:
        self.opened += 1
        return stdin.Stdin(Stream(f"stdin#{self.opened}"), self.read)

    def text(self, record: bytes) -> str:
        return record.decode().removesuffix("\n")

    def close(self) -> None:
        os.close(self.read)
        os.close(self.end)
