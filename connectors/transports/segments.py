"""The local log: append-only segment files in `<state>/log/`.

Guarantees:

* What `append` returned for survives the death of the process (it is with the kernel). A loss of power may cost what was appended
  since the last `commit` or since the last segment began: both call fdatasync.
* An append is there as a whole or not at all. Where the disk is full, the half that was written is cut off again; the next append
  works as soon as there is room.
* Every frame has a checksum. A torn tail is cut when the log is opened; damage in the middle costs the damaged frame.

The segment that grows is plain; one that is full is compressed by `compress()`, one segment a call, which the runtime calls from
a thread that has time. `append`, reading and `compress` may run in different threads. Retention drops whole segments, so the
log may be larger than `size` by one of them. A position counts bytes of the uncompressed log since it was begun.
"""

import json
import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import zstandard
from pydantic import BaseModel, ConfigDict, Field

from connectors.segmented import files, frames
from connectors.segmented.files import Segment, View
from pipeline.contracts import Context
from pipeline.contracts.source import Trouble
from pipeline.contracts.transport import Position, Read, TransportStatus
from pipeline.errors import TransportError
from pipeline.model.stream import RawBatch

READERS = "readers.json"
_VIEWS = 8
"""Segment files kept open for readers."""


class Settings(BaseModel):
    """How the log is cut into files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment_bytes: int = Field(64 << 20, ge=1 << 10, le=1 << 30)


class Segments:
    """The log in a folder."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Opens what is there and cuts a torn tail. Raises TransportError."""
        self._folder, self._limit = folder, limit
        self._fd = -1
        self._lock = threading.RLock()
        self._views: dict[Path, View] = {}
        self._troubles: list[Trouble] = []
        self._now = 0.0
        self._broken = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._segments = files.listed(folder) or [Segment(folder, 0, 0, 0, 0)]
            self._recover(self._segments[-1])
        except (OSError, zstandard.ZstdError) as error:
            raise TransportError(f"opening the log in {folder}: {error}; mend the folder or name another as state") from error
        self._committed = self._load()

    def append(self, batches: Sequence[RawBatch], now: float) -> Position:
        """Keep rows. Raises TransportError when the file cannot take them."""
        data = frames.encode(batches, now)
        with self._lock:
            self._now = now
            try:
                self._roll()
                self._write(data)
            except OSError as error:
                self._broken = f"appending to the log {self._segments[-1].path}: {error.strerror}"
                raise TransportError(f"{self._broken}; nothing of this append was kept, try again when there is room") from error
            self._broken = ""
            active = self._segments[-1]
            active.size += len(data)
            active.stored, active.newest = active.size, now
            return self.end()

    def begin(self) -> Position:
        """The position of the oldest record."""
        return {"offset": self._segments[0].start}

    def end(self) -> Position:
        """The position behind the newest record."""
        return {"offset": self._segments[-1].end}

    def read(self, position: Position, budget: int) -> Read:
        """What follows a position. Raises TransportError when it is none or the file cannot be read."""
        with self._lock:
            at = self._placed(position)
            taken: list[RawBatch] = []
            while budget > 0 and at < self._segments[-1].end:
                segment = self._segment(at)
                found, at = self._frames(segment, at, budget)
                taken += found
                budget -= sum(frames.HEADER + len(batch.data) for batch in found)
                if found and at < segment.end:
                    break
            return Read(taken, {"offset": at})

    def commit(self, reader: str, position: Position) -> None:
        """Keep a reader's position, and everything appended so far, over a loss of power. Raises TransportError."""
        with self._lock:
            committed = {**self._committed, reader: dict(position)}
            path = self._folder / READERS
            try:
                if self._fd >= 0:
                    os.fdatasync(self._fd)
                _replace(path, json.dumps(committed).encode())
            except OSError as error:
                raise TransportError(f"keeping a position in {path}: {error.strerror}; make room there") from error
            self._committed = committed

    def committed(self, reader: str) -> Position | None:
        """A reader's position as it was last kept."""
        return self._committed.get(reader)

    def retain(self, now: float, *, age: float | None, size: int | None) -> int:
        """Drop the oldest segments. The one that grows is never dropped; one that is too old as a whole is ended first."""
        with self._lock:
            self._now = now
            active = self._segments[-1]
            if age is not None and active.size and active.newest < now - age:
                self._end_active()
            total, dropped = sum(segment.stored for segment in self._segments), 0
            while len(self._segments) > 1:
                oldest = self._segments[0]
                if not ((age is not None and oldest.newest < now - age) or (size is not None and total - dropped > size)):
                    break
                oldest.path.unlink(missing_ok=True)
                self._forget(oldest.path)
                dropped += oldest.stored
                del self._segments[0]
            return dropped

    def compress(self) -> bool:
        """Compress the oldest segment that is full and still plain; False: there is none. Raises TransportError."""
        with self._lock:
            segment = next((segment for segment in self._segments[:-1] if not segment.packed), None)
        if segment is None:
            return False
        plain = segment.path
        try:
            target = files.pack(segment)
            with self._lock:
                self._swap(segment, plain, target)
        except OSError as error:
            plain.with_suffix(files.UNFINISHED).unlink(missing_ok=True)
            raise TransportError(
                f"compressing {plain}: {error.strerror}; it stays as it is, try again when there is room"
            ) from error
        return True

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""
        with self._lock:
            found, self._troubles = self._troubles, []
        return found

    def status(self) -> TransportStatus:
        """How much is kept."""
        with self._lock:
            first = self._segments[0]
            frame = frames.decode(self._bytes(first, 0, frames.HEADER), 0) if first.size else None
            oldest = max(0.0, self._now - frame.at) if frame else None
            return TransportStatus(sum(segment.stored for segment in self._segments), oldest, not self._broken, self._broken)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._seal()
            for path in list(self._views):
                self._forget(path)

    def _write(self, data: bytes) -> None:
        active = self._segments[-1]
        if self._fd < 0:
            self._fd = os.open(active.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            files.sync_folder(self._folder)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._fd, memoryview(data)[written:], active.size + written)
        except OSError:
            os.ftruncate(self._fd, active.size)
            raise

    def _roll(self) -> None:
        if self._segments[-1].packed or self._segments[-1].size >= self._limit:
            self._end_active()

    def _end_active(self) -> None:
        """The next append begins a new segment."""
        active = self._segments[-1]
        self._seal()
        self._segments.append(Segment(self._folder, active.end, 0, 0, active.newest))

    def _seal(self) -> None:
        if self._fd < 0:
            return
        os.fdatasync(self._fd)
        os.utime(self._fd, (self._segments[-1].newest,) * 2)
        os.close(self._fd)
        self._fd = -1

    def _swap(self, segment: Segment, plain: Path, target: Path) -> None:
        if segment not in self._segments:  # retention was quicker
            target.unlink()
            return
        segment.stored = target.stat().st_size
        segment.packed = True
        target.rename(segment.path)
        files.sync_folder(self._folder)
        plain.unlink()
        self._forget(plain)

    def _placed(self, position: Position) -> int:
        """Where a position lies now; what a reader missed is noted."""
        at = position.get("offset")
        if not isinstance(at, int):
            raise TransportError(f"reading the log in {self._folder}: {position} is no position of it; begin anew without one")
        first, end = self._segments[0].start, self._segments[-1].end
        if at < first:
            self._trouble("gap", f"{first - at} bytes were dropped before they were read: keep more, or read faster", first - at)
        if at > end:
            self._trouble(
                "gap", f"the log ends {at - end} bytes before the reader's position: a loss of power took them", at - end
            )
        return min(max(at, first), end)

    def _segment(self, at: int) -> Segment:
        return self._segments[bisect_right(self._segments, at, key=lambda segment: segment.start) - 1]

    def _frames(self, segment: Segment, at: int, budget: int) -> tuple[list[RawBatch], int]:
        """Batches of one segment from a place on, and the place behind them."""
        inside = at - segment.start
        data = self._bytes(segment, inside, budget)
        taken: list[RawBatch] = []
        here = 0
        while (frame := frames.decode(data, here)) is not None:
            taken.append(frame.batch)
            here = frame.end
        if taken:
            return taken, at + here
        found = frames.following(whole, 1) if (whole := self._bytes(segment, inside, segment.size - inside)) else None
        lost = (found or len(whole)) if whole else segment.size - inside
        self._trouble("damaged", f"{segment.path}: {lost} bytes at {inside} do not fit their checksum; the rest was read", lost)
        return [], at + lost

    def _bytes(self, segment: Segment, inside: int, size: int) -> bytes:
        """Bytes of a segment: at least one frame where there is one. Nothing where it cannot be decompressed."""
        path = segment.path
        view = self._views.pop(path, None) or View(path, segment.packed)
        self._views[path] = view
        if len(self._views) > _VIEWS:
            self._forget(next(iter(self._views)))
        try:
            data = view.read(inside, min(max(size, frames.HEADER), segment.size - inside))
            whole = frames.needed(data, 0)
            return data if whole <= len(data) else view.read(inside, min(whole, segment.size - inside))
        except zstandard.ZstdError:
            return b""
        except OSError as error:
            raise TransportError(f"reading the log {path}: {error.strerror}; see to the disk") from error

    def _forget(self, path: Path) -> None:
        if view := self._views.pop(path, None):
            view.close()

    def _recover(self, segment: Segment) -> None:
        """Cut what stands behind the last whole append of the segment that was written to last."""
        if segment.packed or not segment.size:
            return
        data = segment.path.read_bytes()
        at: int | None = 0
        sound, newest = 0, segment.newest
        while at is not None:
            frame = frames.decode(data, at)
            if frame and not frame.more:
                sound, newest = frame.end, frame.at
            at = frame.end if frame else frames.following(data, at + 1)
        segment.newest = newest
        if sound < len(data):
            os.truncate(segment.path, sound)
            segment.size = segment.stored = sound
            cut = len(data) - sound
            self._trouble("cut", f"{segment.path}: {cut} bytes behind byte {sound} were half an append, cut off", cut)

    def _load(self) -> dict[str, Position]:
        path = self._folder / READERS
        try:
            loaded = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise TransportError(f"reading the positions in {path}: {error}; remove it to read the log anew") from error
        return dict(loaded)

    def _trouble(self, kind: str, text: str, amount: int) -> None:
        self._troubles.append(Trouble(kind, str(self._folder), text, amount))


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that at any moment the old or the new is there, whole."""
    beside = path.with_suffix(".new")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    files.sync_folder(path.parent)


def create(settings: Settings, context: Context) -> Segments:
    """The log in the state folder. Raises TransportError where the folder cannot be used."""
    return Segments(context.state / "log", settings.segment_bytes)
