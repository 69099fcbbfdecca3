"""Writing checkpoints beside the reading thread: it stands still while the state is copied, not until that is on disk."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.runtime.ledger import Intent, Ledger


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint: when it was begun (monotonic), for how long reading stood still and what it took in all (seconds), its bytes,
    and whether it failed.
    """

    at: float = 0.0
    still: float = 0.0
    cost: float = 0.0
    size: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """What is to be saved together: parts, what was decided to say, and the positions that may be committed then. `begun` is when
    copying began (`time.perf_counter`).
    """

    parts: Mapping[str, bytes]
    intents: Sequence[Intent]
    positions: Mapping[str, Any]
    begun: float


class Saver:
    """Writes one checkpoint at a time."""

    def __init__(self, ledger: Ledger, written: Callable[[], None]) -> None:
        """`written` is called, perhaps in another thread, when one was written."""
        self._ledger, self._written = ledger, written
        self._threads: ThreadPoolExecutor | None = None
        self._writing: tuple[Copy, float, Future[float]] | None = None
        self.last = Saved()

    def begin_beside(self) -> None:
        """Write in a thread from now on; before, each is written when it is begun."""
        self._threads = ThreadPoolExecutor(1, "checkpoint")

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._writing is not None

    def begin(self, copy: Copy, now: float) -> None:
        """Write a checkpoint; `now` in monotonic seconds. What came of it says `finished`."""
        still = time.perf_counter() - copy.begun
        self.last = Saved(now, still, self.last.cost, sum(map(len, copy.parts.values())), failed=self.last.failed)
        if self._threads is not None:
            self._writing = copy, still, self._threads.submit(self._write, copy)
            return
        done: Future[float] = Future()
        try:
            done.set_result(self._write(copy))
        except Exception as error:  # noqa: BLE001 (it is raised where the result is asked for)
            done.set_exception(error)
        self._writing = copy, still, done

    def finished(self, *, wait: bool = False) -> tuple[Copy, Exception | None] | None:
        """The checkpoint that has been written since the last call, or could not be; with `wait`, the one that is under way."""
        if self._writing is None or not (wait or self._writing[2].done()):
            return None
        (copy, still, done), self._writing = self._writing, None
        error = done.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        cost = self.last.cost if error else done.result()
        self.last = Saved(self.last.at, still, cost, self.last.size, failed=error is not None)
        return copy, error

    def close(self) -> None:
        """Begin none any more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _write(self, copy: Copy) -> float:
        self._ledger.save(copy.parts, copy.intents)
        self._written()
        return time.perf_counter() - copy.begun
