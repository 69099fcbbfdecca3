"""Standard input: what another program writes into this one, until it ends.

Guarantees: every line once, in order; an unfinished last line is given at the end. It cannot be read again: after a restart the
other end is another one, so each run of it is a stream of its own.
"""

import os
import select
import uuid
from collections.abc import Sequence

from connectors.writer import Writer
from pipeline.contracts import Context
from pipeline.contracts.source import LONGEST, Position, SourceStatus, Trouble
from pipeline.errors import SourceError
from pipeline.model.stream import RawBatch, Stream

FD = 0
_PIECE = 1 << 20


class Settings(Writer):
    """What is known of whoever writes."""


class Stdin:
    """A pipe, a terminal or a file that someone put at a descriptor."""

    rereadable = False
    live = True

    def __init__(self, stream: Stream, fd: int) -> None:
        self._stream, self._fd = stream, fd
        self._offset, self._rest = 0, b""
        self._ended = self._cutting = self._more = False
        self._troubles: list[Trouble] = []

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """The lines that have come."""
        pieces = [self._rest]
        size = 0
        while size < budget and not self._ended and select.select([self._fd], [], [], 0)[0]:
            piece = self._piece(min(_PIECE, budget - size))
            self._ended = not piece
            size += len(piece)
            pieces.append(piece)
        self._more = not self._ended and size >= budget
        data = b"".join(pieces) if size else self._rest
        given, self._rest = self._divided(data)
        if not given:
            return []
        batch = RawBatch(self._stream, given, self._offset)
        self._offset += len(given)
        return [batch]

    def more(self) -> bool:
        """Whether the other end was quicker."""
        return self._more

    def position(self) -> Position:
        """How many bytes of which stream were given."""
        return {"stream": self._stream.id, "offset": self._offset}

    def seek(self, position: Position) -> None:
        """Go on with what comes: nothing can be read again."""
        if not isinstance(position.get("stream"), str):
            raise SourceError(f"going on with standard input: {position} is no position of it; remove it to begin anew")

    def commit(self, position: Position) -> None:
        """Nothing is kept."""

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""
        found, self._troubles = self._troubles, []
        return found

    def status(self) -> SourceStatus:
        """Alive until it ends."""
        return SourceStatus(not self._ended, None, 1)

    def finished(self) -> bool:
        """Whether the other end has closed it and all was given."""
        return self._ended and not self._rest

    def close(self) -> None:
        """It is not ours to close."""
        self._ended, self._rest = True, b""

    def _piece(self, size: int) -> bytes:
        try:
            return os.read(self._fd, size)
        except OSError as error:
            text = f"reading standard input: {error.strerror}; it is taken for its end"
            self._troubles.append(Trouble("unreadable", self._stream.id, text))
            return b""

    def _divided(self, data: bytes) -> tuple[bytes, bytes]:
        """Whole lines, and what waits for its end."""
        cut = data.rfind(b"\n") + 1
        if self._ended:
            cut = len(data)
        elif cut == 0 and len(data) >= LONGEST:
            if not self._cutting:
                text = f"standard input: a line of more than {LONGEST >> 20} MiB at byte {self._offset} was cut"
                self._troubles.append(Trouble("cut", self._stream.id, text))
            self._cutting, cut = True, len(data)
        elif cut:
            self._cutting = False
        return data[:cut], data[cut:]


def create(settings: Settings, context: Context) -> Stdin:
    """Read standard input."""
    return Stdin(settings.stream(f"stdin#{uuid.uuid4().hex[:12]}", cluster=context.cluster), FD)
