"""The engine in time: when it is asked, what is new since, and what of it the store does not have yet.

Asking costs something, so it is paced by what it cost: rows that a rule may want are looked at almost at once, others when a
tenth of the time has been spent on asking. Time goes on where everything is silent: it is the newest event time and what has
passed since that was read, so a clock that is set wrong, or set back, moves nothing.
"""

import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.engine.engine import Engine
from pipeline.engine.lifecycle import Book, Change
from pipeline.engine.routing import Names
from pipeline.engine.state import Limits, State
from pipeline.errors import StateError
from pipeline.model.incident import Record
from pipeline.model.stream import RawBatch
from pipeline.signatures.ruleset import RuleSet

URGENT, CALM = 2.0, 9.0
"""Times the cost of the last look that must have passed before the next: with rows that some rule may want, and without."""
IDLE, LONGEST = 5.0, 60.0
"""Seconds until the next look while nothing comes, doubled from one to the next."""
CATCHING_UP = 30.0
"""Seconds between two looks during a backlog."""
FINAL = 500
"""Ended incidents that the engine keeps for explaining others; the store has them all."""
LIMITS = Limits(final_incidents=FINAL)


@dataclass(frozen=True, slots=True)
class Site:
    """What an engine is made of. `cache` is a folder for compiled scan databases."""

    ruleset: RuleSet
    cluster: str
    names: Names
    cache: Path | None = None


@dataclass(slots=True)
class Pace:
    """When the engine is asked next (monotonic seconds)."""

    last: float = 0.0
    cost: float = 0.0
    fresh: bool = False
    """Whether rows came since."""
    idle: float = IDLE

    def due(self, now: float, *, urgent: bool, backlog: bool) -> bool:
        """Whether it is time to ask."""
        passed = now - self.last
        if backlog:
            return passed >= max(CATCHING_UP, self.cost * CALM)
        if not self.fresh:
            return passed >= self.idle
        return passed >= self.cost * (URGENT if urgent else CALM)

    def asked(self, begun: float, now: float) -> None:
        """It was asked."""
        self.idle = IDLE if self.fresh else min(LONGEST, self.idle * 2)
        self.last, self.cost, self.fresh = now, now - begun, False


@dataclass(slots=True)
class Memory:
    """What is remembered between two looks beside the engine's own state."""

    book: Book = field(default_factory=Book)
    unsaved: dict[str, Record] = field(default_factory=dict)
    """Records that the store does not have as they are, by thread."""
    now: int = 0
    """The latest event time that was taken for the present (microseconds)."""
    heard: float = 0.0
    """When the newest row was read, by the clock on the wall (seconds since 1970)."""


class Analysis:
    """One engine, the lives of its incidents, and when to look."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.engine = self._made(State())
        self.memory = Memory()
        self.pace = Pace()
        self.looks = 0
        """How often the engine was asked since the start."""
        self.unread = 0
        """Batches that the engine could not take, because of an error of ours."""
        self._observed = 0
        self._heard: float | None = None

    def feed(self, batches: Sequence[RawBatch], now: float, wall: float) -> Iterable[str]:
        """Take rows in. An error of ours costs the batches it concerns; gives a line for each of them."""
        wrong: list[str] = []
        try:
            self.engine.feed(batches)
        except Exception:  # noqa: BLE001 (what one batch does to the engine must not end the process)
            wrong = [text for batch in batches if (text := self._alone(batch))]
        self.pace.fresh = True
        if (observed := self.engine.observed()) > self._observed:
            self._observed, self._heard, self.memory.heard = observed, now, wall
        return wrong

    def _made(self, state: State) -> Engine:
        site = self._site
        meter = time.perf_counter
        return Engine(
            site.ruleset, cluster=site.cluster, names=site.names, cache=site.cache, limits=LIMITS, meter=meter, state=state
        )

    def _alone(self, batch: RawBatch) -> str | None:
        try:
            self.engine.feed([batch])
        except Exception as error:  # noqa: BLE001 (as above)
            self.unread += 1
            where = f"{batch.stream.id} from byte {batch.offset}"
            return f"{len(batch.data)} bytes of {where} could not be taken in ({type(error).__name__}: {error}); please report it"
        return None

    def due(self, now: float, *, backlog: bool) -> bool:
        """Whether it is time to look."""
        return self.pace.due(now, urgent=self.engine.waiting(), backlog=backlog)

    def look(self, now: float, *, live: bool) -> list[Change]:
        """The incidents as they stand: what has changed. With `live`, time goes on also while no row says so."""
        begun = time.perf_counter()
        memory = self.memory
        passed = round((now - self._heard) * 1e6) if live and self._heard is not None else 0
        memory.now = max(memory.now, self.engine.observed() + passed)
        changes = memory.book.update(self.engine.incidents(live=memory.now if live else 0), memory.now)
        for change in changes:
            memory.unsaved[change.record.thread] = change.record
        self.looks += 1
        self.pace.asked(now, now + time.perf_counter() - begun)
        return changes

    def finish(self) -> None:
        """No more rows will come."""
        self.engine.finish()
        self.pace.fresh = True

    def snapshot(self) -> dict[str, bytes]:
        """All that is remembered, as parts of a checkpoint."""
        engine = (self._site.ruleset.digest, self.engine.settled())
        return {"engine": pickle.dumps(engine), "memory": pickle.dumps(self.memory)}

    def restore(self, parts: Mapping[str, bytes], now: float, wall: float) -> None:
        """Go on where a snapshot was taken. Raises StateError where it was made with other rules (then what is known of the
        cluster's objects and of past incidents is taken all the same) or by another version.
        """
        try:
            digest, state = pickle.loads(parts["engine"])  # noqa: S301 (our own checkpoint)
            self.memory = pickle.loads(parts["memory"])  # noqa: S301 (the same)
        except Exception as error:  # whatever a pickle of other classes may raise
            raise StateError(f"restoring a checkpoint: it is of another version of Headwater ({error})") from error
        if digest != self._site.ruleset.digest:
            self.engine = self._made(State(topology=state.topology))
            raise StateError("restoring a checkpoint: it was made with other rules")
        self.engine = self._made(state)
        self._observed = self.engine.observed()
        self._heard = now - max(0.0, wall - self.memory.heard)
