"""Delivers what the ledger holds: retries, order, rates and repeats, once for all sinks.

* Within a thread a later notification waits for the earlier; threads do not wait for each other. What was never attempted is left
  out when a later notification of its thread says more: updates behind which others come, a beginning behind which the end comes.
* A failure that may pass is tried again, later each time; a Retry-After holds the whole receiver. Any other failure gives that
  notification up, and the thread goes on with its next. Trouble is said once, then counted until a delivery succeeds.
* A delivery that succeeded and could not be marked (the ledger was locked) is marked before anything else is sent.
* What waits for a receiver that is no longer configured is dropped at the start, and that is said.
* A sink with `resend` (seconds) gets the last notification of each thread that is going on again, that often.

`Courier` serves one receiver, with times handed in; `Outbox` runs one on a thread of its own for each sink. Times that decide are
those of a clock that is never set.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.contracts.sink import Sink
from pipeline.errors import StoreError
from pipeline.runtime.courier import Courier, SinkStatus
from pipeline.runtime.ledger import Ledger

Clock = Callable[[], float]


@dataclass(slots=True)
class _Worker:
    """A thread that serves one receiver, and what wakes it."""

    thread: threading.Thread
    woken: threading.Event


class Outbox:
    """Delivers to `sinks`, by the names of receivers. `say` tells of trouble, once each; `clock` gives seconds since 1970,
    `monotonic` those that decide.
    """

    def __init__(
        self,
        ledger: Ledger,
        sinks: Mapping[str, Sink],
        *,
        say: Callable[[str], None] = lambda _: None,
        chance: random.Random | None = None,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        chance = chance or random.Random()  # noqa: S311 (it spreads attempts, it guards nothing)
        self._ledger, self._say, self._monotonic = ledger, say, monotonic
        self._stopping = threading.Event()
        self._couriers = {
            name: Courier(name, ledger, sink, say=say, chance=chance, clock=clock, stopping=self._stopping)
            for name, sink in sinks.items()
        }
        self._workers: dict[str, _Worker] = {}
        self._settled = threading.Condition()

    def step(self, receiver: str, now: float) -> float | None:
        """Deliver what is due for a receiver at `now` (monotonic seconds); gives the seconds until something is, None if nothing
        waits.
        """
        wait = self._couriers[receiver].step(now)
        with self._settled:
            self._settled.notify_all()
        return wait

    def start(self) -> None:
        """Deliver from now on, on one thread a sink."""
        self._forget_others()
        for name in self._couriers:
            woken = threading.Event()
            thread = threading.Thread(target=self._serve, args=(name, woken), name=f"outbox {name}", daemon=True)
            self._workers[name] = _Worker(thread, woken)
            thread.start()

    def wake(self) -> None:
        """Say that there is something new in the ledger."""
        for worker in self._workers.values():
            worker.woken.set()

    def stop(self, timeout: float) -> bool:
        """Begin no further delivery and wait for those that are under way; gives whether all ended within `timeout` seconds. One
        that hangs is left behind: it was noted as attempted, and the next start repeats it.
        """
        self._stopping.set()
        self.wake()
        until = time.monotonic() + timeout
        for worker in self._workers.values():
            worker.thread.join(max(0.0, until - time.monotonic()))
        return not any(worker.thread.is_alive() for worker in self._workers.values())

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is pending, at most `timeout` seconds; gives whether that is so."""
        self.wake()
        with self._settled:
            return self._settled.wait_for(lambda: not any(c.busy() for c in self._couriers.values()), timeout)

    def status(self) -> dict[str, SinkStatus]:
        """How each receiver is doing."""
        now = self._monotonic()
        return {name: courier.status(now) for name, courier in self._couriers.items()}

    def _forget_others(self) -> None:
        try:
            gone = self._ledger.forget_others(self._couriers)
        except StoreError as error:
            self._say(f"dropping what waits for receivers that are gone: {error}; the next start does it")
            return
        for name, number in gone.items():
            self._say(f"sink {name}: it is no longer configured; what waited for it is dropped: {number} in all")

    def _serve(self, name: str, woken: threading.Event) -> None:
        while not self._stopping.is_set():
            woken.clear()
            wait = self.step(name, self._monotonic())
            woken.wait(wait)
