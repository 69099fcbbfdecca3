"""Zstandard files as readers that notice when the last frame is cut: the library's own reader takes that for the end."""

import io
from typing import BinaryIO

import zstandard

PIECE = 8 << 10
"""Compressed bytes taken at a time. Equal lines shrink to a ten-thousandth, and what a piece gives must fit in memory."""


class _Frames(io.RawIOBase):
    """The frames of a file one after the other. Raises EOFError where one is cut, ZstdError where one is damaged."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._inside = False
        self._waiting = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            piece = self._waiting or self._raw.read(PIECE)
            if not piece:
                if self._inside:
                    raise EOFError("the last frame has no end")
                return 0
            self._ready = memoryview(self._frame.decompress(piece))
            self._inside, self._waiting = not self._frame.eof, self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


def zstd(raw: BinaryIO) -> io.BufferedReader:
    """A reader of the decompressed bytes; closing it closes `raw`."""
    return io.BufferedReader(_Frames(raw), buffer_size=1 << 20)
