"""A device that behaves as /dev/kmsg does: every reader begins at the oldest record, and a read gives one of them."""

import socket
from collections.abc import Sequence
from pathlib import Path

from connectors.sources import kmsg
from pipeline.contracts import Context


class Outside:
    """A ring of records behind sockets that keep them apart."""

    grows = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ring: list[bytes] = []
        self.number = 0
        self.readers: list[socket.socket] = []

    def write(self, lines: Sequence[str]) -> None:
        for line in lines:
            record = f"4,{self.number},{self.number * 1000},-;{line}\n".encode()
            self.number += 1
            self.ring.append(record)
            for reader in self.readers:
                reader.send(record)

    def device(self) -> int:
        """Open it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.readers = [reader for reader in self.readers if reader.fileno() >= 0]
        for record in self.ring:
            ours.send(record)
        self.readers.append(ours)
        return theirs.detach()

    def open(self, start: str = "beginning") -> kmsg.Kmsg:
        for reader in self.readers:
            reader.close()
        self.readers.clear()
        settings = kmsg.Settings.model_validate({"start": start, "node": "a"})
        return kmsg.Kmsg(settings, Context("cluster", self.folder, "kernel"), "boot-1", self.device)

    def text(self, record: bytes) -> str:
        return record.decode().partition(";")[2].removesuffix("\n")

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
