"""Serves one receiver: what is due is delivered, what fails is tried again or given up. No thread and no waiting of its own.

The ledger is the truth; in memory are only the rows that wait, without their contents, and when each thread may be tried again.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.contracts.sink import OVER, Receipt, Sink, from_json
from pipeline.errors import DeliveryError, StoreError
from pipeline.runtime import backoff
from pipeline.runtime.ledger import Ledger, Row

LOCKED = 1.0
"""Seconds until the ledger is tried again."""

MEANS = {"retry": "it is tried again until it succeeds", "given up": "this notification is given up"}


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How a receiver is doing. `oldest_seconds`: how long the oldest pending notification has been waiting here; `sent`, `failed`
    (given up) and `repeated` (attempts after the first, and sendings again) count since the start. `down_since` (seconds since
    1970) and `down_seconds` say how long every attempt has been failing, `error` why. `missed` is what the last delivery did not
    reach.
    """

    pending: int
    oldest_seconds: float
    sent: int
    failed: int
    repeated: int
    down_since: float | None
    down_seconds: float
    error: str
    missed: tuple[str, ...]


@dataclass(slots=True)
class _Lane:
    """One thread: the rows that wait, when the first may be tried, since when each has been known."""

    rows: list[Row] = field(default_factory=list)
    since: list[float] = field(default_factory=list)
    due: float = float("-inf")


@dataclass(slots=True)
class _Standing:
    """A thread that is going on: the last row sent, when it is to be sent again, and how often that has failed."""

    row: Row
    due: float
    failures: int = 0


class Courier:
    """Delivers to one receiver; `step` and `status` may be called by two threads at a time."""

    def __init__(  # noqa: PLR0913 (all by keyword)
        self,
        receiver: str,
        ledger: Ledger,
        sink: Sink,
        *,
        say: Callable[[str], None] = lambda _: None,
        chance: random.Random,
        clock: Callable[[], float] = time.time,
        stopping: threading.Event | None = None,
    ) -> None:
        self._receiver, self._ledger, self._sink = receiver, ledger, sink
        self._say, self._chance, self._clock = say, chance, clock
        self._stopping = stopping or threading.Event()
        self._resend: float | None = getattr(sink, "resend", None)
        self._lanes: dict[str, _Lane] = {}
        self._standing: dict[str, _Standing] = {}
        self._started = False
        self._read = 0
        self._held = float("-inf")
        self._unmarked: tuple[Row, Receipt] | None = None
        self._sent = self._failed = self._repeated = 0
        self._down: tuple[float, float] | None = None
        self._error = ""
        self._missed: tuple[str, ...] = ()
        self._told: set[str | tuple[str, int]] = set()

    def step(self, now: float) -> float | None:
        """Deliver what is due at `now`; gives the seconds until something is, None if nothing waits."""
        try:
            self._mark(now)
            self._learn(now)
            for thread, lane in list(self._lanes.items()):
                self._serve(thread, lane, now)
            for standing in list(self._standing.values()):
                self._again(standing, now)
        except StoreError as error:
            self._say_once("ledger", f"sink {self._receiver}: {error}")
            return LOCKED
        self._told.discard("ledger")
        return self._next(now)

    def busy(self) -> bool:
        """Whether something is pending; yes where the ledger cannot say so."""
        try:
            return self._unmarked is not None or bool(self._ledger.pending(self._receiver))
        except StoreError:
            return True

    def status(self, now: float) -> SinkStatus:
        """How it is doing at `now`."""
        lanes = list(self._lanes.values())
        down, began = self._down, [since for lane in lanes for since in lane.since[:1]]
        return SinkStatus(
            pending=sum(len(lane.rows) for lane in lanes),
            oldest_seconds=max(0.0, now - min(began, default=now)),
            sent=self._sent,
            failed=self._failed,
            repeated=self._repeated,
            down_since=down[0] if down else None,
            down_seconds=max(0.0, now - down[1]) if down else 0.0,
            error=self._error,
            missed=self._missed,
        )

    def _learn(self, now: float) -> None:
        """What is new in the ledger; and at the start what stands."""
        if self._resend is not None and not self._started:
            self._standing = {row.thread: _Standing(row, now) for row in self._ledger.standing(self._receiver)}
        self._started = True
        for row in self._ledger.pending(self._receiver, self._read):
            lane = self._lanes.setdefault(row.thread, _Lane())
            lane.rows.append(row)
            lane.since.append(now)
            self._read = row.number
        for lane in self._lanes.values():
            self._leave_out(lane)

    def _leave_out(self, lane: _Lane) -> None:
        gone = superseded(lane.rows)
        if not gone:
            return
        self._ledger.superseded(gone, self._microseconds())
        kept = [(row, since) for row, since in zip(lane.rows, lane.since, strict=True) if row not in gone]
        lane.rows, lane.since = [row for row, _ in kept], [since for _, since in kept]

    def _serve(self, thread: str, lane: _Lane, now: float) -> None:
        """Deliver the rows of a thread until one has to wait."""
        while lane.rows and not self._waits(lane.due, now):
            self._attempt(lane, lane.rows[0], now)
        if not lane.rows:
            del self._lanes[thread]

    def _attempt(self, lane: _Lane, row: Row, now: float) -> None:
        self._ledger.attempted(row)
        lane.rows[0] = replace(row, attempts=row.attempts + 1)
        self._repeated += row.attempts > 0
        error = self._send(row, repeat=row.attempts > 0)
        if error is None:
            self._mark(now)
        elif error.retry:
            self._trouble(row, "retry", error, now)
            lane.due = self._later(row.attempts + 1, error, now)
            self._ledger.failed(row, str(error), self._microseconds(), permanent=False)
        else:
            self._trouble(row, "given up", error, now)
            self._ledger.failed(row, str(error), self._microseconds(), permanent=True)
            self._failed += 1
            self._drop(row)

    def _again(self, standing: _Standing, now: float) -> None:
        """Send what stands once more, unless something newer of its thread waits."""
        row = standing.row
        if self._resend is None or row.thread in self._lanes or self._waits(standing.due, now):
            return
        self._repeated += 1
        error = self._send(row, repeat=True)
        if error is None:
            self._mark(now)
            return
        self._trouble(row, "retry", error, now)
        standing.failures += 1
        again = self._later(standing.failures, error, now) if error.retry else now + self._resend
        standing.due = min(again, now + self._resend)

    def _send(self, row: Row, *, repeat: bool) -> DeliveryError | None:
        """Hand a row to the sink; its success is kept until it is marked. A bug of the sink is a failure for good."""
        receipt, content = self._ledger.receipt(row.receiver, row.thread), self._ledger.content(row)
        try:
            answer = self._sink.deliver(from_json(content), receipt, repeat=repeat, now=self._clock())
            self._unmarked = (row, json.loads(json.dumps(answer)))
        except DeliveryError as error:
            return error
        except Exception as error:  # noqa: BLE001 (whatever a sink does wrong, the others and its other threads go on)
            what = f"{type(error).__name__}: {error}"
            return DeliveryError(f"sink {self._receiver}: delivering {row.key}: a bug in the sink, {what}", retry=False)
        return None

    def _mark(self, now: float) -> None:
        """Note the delivery that succeeded, if one is not noted yet."""
        if self._unmarked is None:
            return
        row, receipt = self._unmarked
        self._ledger.sent(row, receipt, self._microseconds())
        self._unmarked = None
        self._down, self._error, self._missed = None, "", tuple(map(str, receipt.get("missed", ())))
        self._told.difference_update(("retry", "given up"))
        self._sent += self._drop(row)
        if self._resend is not None and row.event in ("opened", "updated"):
            self._standing[row.thread] = _Standing(row, now + self._resend)
        elif row.event in OVER:
            self._standing.pop(row.thread, None)

    def _drop(self, row: Row) -> bool:
        """Take a row that is done from the head of its lane; whether it was there."""
        self._told.discard(("retry", row.number))
        lane = self._lanes.get(row.thread)
        if lane is None or not lane.rows or lane.rows[0].number != row.number:
            return False
        del lane.rows[0], lane.since[0]
        lane.due = float("-inf")
        return True

    def _trouble(self, row: Row, kind: str, error: DeliveryError, now: float) -> None:
        self._down = self._down or (self._clock(), now)
        self._error = str(error)
        known = (kind, row.number)
        if known not in self._told:
            self._say_once(kind, f"{error}; {MEANS[kind]}")
        if kind == "retry":  # one that is given up does not come again
            self._told.add(known)

    def _say_once(self, kind: str, what: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._say(what)

    def _later(self, failures: int, error: DeliveryError, now: float) -> float:
        """When to try again; what the other side asked for holds the whole receiver."""
        if error.after is not None:
            self._held = max(self._held, now + min(error.after, backoff.ASKED))
        return now + backoff.wait(failures, self._chance, error.after)

    def _waits(self, due: float, now: float) -> bool:
        return self._stopping.is_set() or now < max(due, self._held)

    def _next(self, now: float) -> float | None:
        waiting = [lane.due for lane in self._lanes.values()]
        waiting += [standing.due for thread, standing in self._standing.items() if thread not in self._lanes]
        return max(0.0, max(min(waiting), self._held) - now) if waiting else None

    def _microseconds(self) -> int:
        return round(self._clock() * 1_000_000)


def superseded(rows: Sequence[Row]) -> list[Row]:
    """The rows of a thread that need not be sent, because nothing was sent of them and what comes later says more."""
    gone: list[Row] = []
    later: Row | None = None
    for row in reversed(rows):
        says_more = later is not None and (row.event in ("updated", "digest") or (row.event == "opened" and later.event in OVER))
        if says_more and row.attempts == 0:
            gone.append(row)
        else:
            later = row
    return gone
