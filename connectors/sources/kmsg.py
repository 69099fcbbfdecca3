"""The kernel's messages, from /dev/kmsg: one record a read, each with a number that counts from the start of the machine.

Guarantees: every record once; what the kernel overwrote before it was read is a gap, known by the numbers. The number is the
offset of the record, and the boot is part of the stream's id, so no record is ever taken for another. The ring holds only so
much: it is no log, and cannot be read again for long.

At the very first start only what comes from then on is read (`start: beginning`: what the ring still holds). Times are counted
from the start of the machine by a clock that drifts from the one on the wall; the boot time is corrected when it is off by
more than `STEP` seconds, and kept in the position, so that a record read again has the same time.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from pipeline.contracts import Context
from pipeline.contracts.source import Position, SourceStatus, Trouble
from pipeline.errors import SourceError
from pipeline.model.stream import RawBatch, Stream

RECORD = 16 << 10
"""More than any record takes (the kernel's limit is 8 KiB)."""
STEP = 0.5
EVERY = 60.0
"""Seconds between two looks at the clock."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Settings(BaseModel):
    """Which device, on which node."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Path("/dev/kmsg")
    node: str | None = None
    start: Literal["end", "beginning"] = "end"


class Kmsg:
    """The kernel's ring of messages."""

    rereadable = False
    live = True

    def __init__(self, settings: Settings, context: Context, boot: str, device: Callable[[], int]) -> None:
        self._settings, self._context, self._boot, self._device = settings, context, boot, device
        self._fd = -1
        self._sequence = -1
        self._skip = settings.start == "end"
        self._checked = float("-inf")
        self._started = 0.0
        self._error = ""
        self._more = False
        self._troubles: list[Trouble] = []

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """The records that have come."""
        self._more = False
        if self._fd < 0 and not self._open():
            return []
        if now - self._checked >= EVERY:
            self._checked = now
            self._set_clock(time.time() - time.clock_gettime(time.CLOCK_MONOTONIC))
        records: list[bytes] = []
        numbers: list[int] = []
        while budget > 0 and (record := self._record()) is not None:
            number = _number(record)
            if not self._is_next(number):
                continue
            self._sequence = number
            records.append(record if record.endswith(b"\n") else record + b"\n")
            numbers.append(number)
            budget -= len(record)
        self._more = budget <= 0
        if not records:
            return []
        return [RawBatch(self._stream(), b"".join(records), numbers[0], pl.Series(numbers, dtype=pl.UInt64))]

    def more(self) -> bool:
        """Whether the kernel was quicker."""
        return self._more

    def position(self) -> Position:
        """The last record given, of which boot, and when that was."""
        return {"boot": self._boot, "sequence": self._sequence, "started": self._started}

    def seek(self, position: Position) -> None:
        """Go on behind a record, if the machine still runs since."""
        try:
            boot, sequence, started = str(position["boot"]), int(position["sequence"]), float(position["started"])
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"going on with the kernel's messages: {dict(position)} is no position of them; remove it to begin anew"
            ) from error
        self.close()
        self._sequence, self._started = sequence, started
        self._skip = sequence < 0 and self._settings.start == "end"
        if boot != self._boot:
            self._sequence, self._started, self._skip = -1, 0.0, False
            self._trouble("gap", "the machine was started anew: what the kernel wrote before and was not read is lost", 0)

    def commit(self, position: Position) -> None:
        """The ring keeps what it keeps."""

    def troubles(self) -> Sequence[Trouble]:
        """What went wrong since the last call."""
        found, self._troubles = self._troubles, []
        return found

    def status(self) -> SourceStatus:
        """Alive while the device can be opened."""
        return SourceStatus(not self._error, None, 1, self._error)

    def finished(self) -> bool:
        """Never: the kernel may always say more."""
        return False

    def close(self) -> None:
        """Close the device."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        path = self._settings.path
        try:
            self._fd = self._device()
        except OSError as error:
            text = f"reading the kernel's messages from {path}: {error.strerror}; run as root or with CAP_SYSLOG on the host"
            if text != self._error:
                self._error = text
                self._trouble("unreadable", text, 1)
            return False
        self._error = ""
        # The device could be told to begin at its end, but only the records say which number that is, and a restart needs it.
        while self._skip and (record := self._record()) is not None:
            self._sequence = _number(record)
        self._skip = False
        return True

    def _record(self) -> bytes | None:
        """The next record; None: there is none now."""
        while True:
            try:
                return os.read(self._fd, RECORD) or None
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.EPIPE:  # EPIPE: some were overwritten; their number shows in the next one
                    self.close()
                    self._trouble("unreadable", f"reading the kernel's messages: {error.strerror}; it is opened again", 1)
                    return None

    def _is_next(self, number: int) -> bool:
        """Whether a record was not given yet; notes how many are missing before it."""
        lost = number - self._sequence - 1
        if lost > 0 and self._sequence >= 0:
            text = f"{lost} kernel messages were overwritten before they were read; enlarge the ring (log_buf_len) or read faster"
            self._trouble("gap", text, lost)
        return lost >= 0

    def _set_clock(self, started: float) -> None:
        if abs(started - self._started) > STEP:
            self._started = round(started, 6)

    def _stream(self) -> Stream:
        started = datetime.fromtimestamp(self._started, UTC)
        where = {"cluster": self._context.cluster, "node": self._settings.node}
        return Stream(f"kmsg#{self._settings.node or ''}.{self._boot}", "kmsg", "kernel", **where, boot_time=started)

    def _trouble(self, kind: str, text: str, amount: int) -> None:
        self._troubles.append(Trouble(kind, str(self._settings.path), text, amount))


def _number(record: bytes) -> int:
    return int(record.split(b",", 2)[1])


def create(settings: Settings, context: Context) -> Kmsg:
    """Read the kernel's messages."""
    boot = BOOT.read_text(encoding="ascii").strip()
    return Kmsg(settings, context, boot, lambda: os.open(settings.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
