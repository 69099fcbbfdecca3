"""The running service: sources to log to engine to store, and what is to be said to the outbox.

One thread reads, detects and saves; one a sink delivers; one answers questions over HTTP; housekeeping has its own. The first
is a loop of `turn`s that owns no clock: tests drive it with theirs.

The order that makes a kill at any moment harmless: rows that cannot be read again are in the log before anything sees them;
state, positions and what was decided to say are saved in one transaction; only then is anything sent or a position committed.
What was read after the last checkpoint is read again. Nothing is said before the backlog of a start is worked off.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.contracts.sink import Sink
from pipeline.contracts.store import Silence, Store
from pipeline.engine.lifecycle import Change
from pipeline.errors import HeadwaterError, StateError, StoreError
from pipeline.model.public import rfc3339
from pipeline.runtime import checkpoint, report
from pipeline.runtime.analysis import Analysis, Site
from pipeline.runtime.checkpoint import History, Place
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.inputs import Inputs
from pipeline.runtime.ledger import Intent, Ledger
from pipeline.runtime.order import Order
from pipeline.runtime.outbox import Outbox
from pipeline.runtime.saving import Copy, Saver
from pipeline.runtime.selfcheck import SelfCheck
from pipeline.runtime.troubles import Troubles, log

EVERY = 0.1
"""Seconds between two looks at quiet sources: the longest that a row waits to be read."""
CHECKPOINT = 10.0
"""Seconds between two checkpoints while nothing has to be said."""
SHARE = 20.0
"""Times its own cost that lie between two checkpoints at least."""
RETRY = 1.0
"""Seconds until something is saved again that could not be."""
LOCKED = 5.0
"""The same for the store, at which every attempt may wait for a second."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is put together from."""

    site: Site
    inputs: Inputs
    store: Store
    ledger: Ledger
    sinks: Mapping[str, Sink]
    selfcheck: SelfCheck
    """One of the inputs as well."""
    dispatcher: Callable[[bytes | None], Dispatcher]
    """Makes one that goes on from what was told."""


class Service:
    """Everything between sources and outbox. Not thread-safe but for `stop` and `silences`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.inputs = parts.inputs
        self.analysis = Analysis(parts.site)
        self.dispatcher = parts.dispatcher(None)
        self.outbox = Outbox(parts.ledger, parts.sinks, say=log.warning)
        self.order = Order()
        self.troubles = Troubles()
        self.desk = report.Desk()
        self.silences: Sequence[Silence] = []
        self.caught_up = False
        self.turned = time.monotonic()
        """When the last turn ended, or the start was (monotonic seconds)."""
        self.saver = Saver(parts.ledger, self.outbox.wake)
        self._history = History()
        self._intents: list[Intent] = []
        self._now = 0
        self._last: float | None = None
        self._changed = self._dirty = False
        self._store_again = 0.0
        self._stopping = threading.Event()

    # Life.

    def restore(self, now: float, wall: float) -> None:
        """Go on from the last checkpoint. `now` is monotonic, `wall` since 1970, in seconds. Raises StoreError."""
        parts = self.parts.ledger.parts()
        if "place" not in parts:
            self._seek(None)
            return
        try:
            place, self._history = checkpoint.decode(parts)
            self.dispatcher = self.parts.dispatcher(parts["told"])
            self._now = int(parts["now"])
        except (KeyError, ValueError, TypeError) as error:
            raise StateError(
                f"going on from the checkpoint in the state folder: it cannot be read ({error}); move state.db away to begin anew"
            ) from error
        try:
            self.analysis.restore(parts, now, wall)
        except StateError as error:
            self._begin_again(error, place)
        else:
            self._seek(place.positions)
            self.order.held = place.held
        log.info("going on from the last checkpoint", events_up_to=rfc3339(self.analysis.memory.now or None))

    def run(self) -> None:
        """Go on from the last checkpoint, and work until `stop`, or until all sources have ended; then save."""
        self.restore(time.monotonic(), time.time())
        self.saver.begin_beside()
        self.outbox.start()
        while not self._stopping.is_set():
            if self.turn(time.monotonic(), time.time()):
                continue
            if self.inputs.finished():
                self.end(time.monotonic(), time.time())
                return
            self._stopping.wait(EVERY)
        self._store_again = 0.0
        self._store(time.monotonic())
        self.save(time.monotonic(), wait=True)

    def silence(self, silences: Sequence[Silence]) -> None:
        """What is held back from now on. May be called from any thread."""
        if silences != self.silences:
            self.silences, self._changed = silences, True

    @property
    def waiting_intents(self) -> int:
        """What was decided to say and is not saved yet."""
        return len(self._intents)

    def stop(self) -> None:
        """Let `run` end after the turn it is at. Safe in a signal handler."""
        self._stopping.set()

    def close(self, seconds: float) -> None:
        """Let everything go, within about so many seconds. No checkpoint: after an error it might not be whole, and one that
        could not be read must stay as it is.
        """
        self.saver.close()
        if not self.outbox.drain(seconds / 2):
            waiting = sum(status.pending for status in self.outbox.status().values())
            log.warning("notifications are not delivered yet; the next start goes on with them", waiting=waiting)
        self.outbox.stop(seconds / 2)
        for sink in self.parts.sinks.values():
            sink.close()
        self.inputs.close()
        self.parts.store.close()
        self.parts.ledger.close()

    # One turn.

    def turn(self, now: float, wall: float) -> bool:
        """Read, detect, decide and save what is due; whether there is more to read at once.

        Where there is not, a caller should wait for `EVERY` seconds: rows that came together cost less than the same one by one.
        """
        self._advance(now, wall)
        if not self._history.places:  # where this state begins: other rules may want to read from there
            self.inputs.look(now, wall)
            self._history.add(max(1, self.analysis.engine.observed()), Place(self.inputs.positions()))
        read = self.inputs.read(now, wall)
        self._note_troubles()
        batches = self.order.take(read.batches, more=read.more)
        if batches:
            self._dirty = True
            for text in self.analysis.feed(batches, now, wall):
                self.troubles.note("engine", "unread", text)
        backlog = read.more or bool(self.order.held)
        if not backlog and not self.caught_up:
            self.caught_up = self._changed = True
            self.analysis.pace.last = -math.inf
            log.info("caught up: every source is read to its end")
        if self.analysis.due(now, backlog=backlog and not self.caught_up):
            self._look(now)
        self._store(now)
        self._decide()
        if self._intents or self._dirty or self.saver.busy:
            self._save_when_due(now)
        self.turned = now
        if self.desk.wanted():
            self.desk.give(report.of(self, now))
        if self.inputs.live and self.parts.selfcheck.due(now):
            self.parts.selfcheck.look(report.of(self, now), now, self.analysis.memory.now or self._now)
        return read.more or (bool(read.batches) and not self.inputs.live)

    def end(self, now: float, wall: float) -> None:
        """All sources have ended: decide what waited for more, say it, save it."""
        self._advance(now, wall)
        self.analysis.finish()
        self._look(now)
        self._store(now)
        self._decide()
        self.save(now, wait=True)
        log.info("every source has ended")

    def _advance(self, now: float, wall: float) -> None:
        """Our present, for waits and intervals: the clock on the wall, but it never goes back and never stands still."""
        passed = round((now - self._last) * 1e6) if self._last is not None else 0
        self._now, self._last = max(self._now + passed, round(wall * 1e6)), now

    def _look(self, now: float) -> None:
        """Ask the engine, and hand the store what is new."""
        changes = self.analysis.look(now, live=self.caught_up and self.inputs.live)
        for change in changes:
            _log(change)
        self._changed |= bool(changes)
        self._dirty |= self._changed

    def _store(self, now: float) -> None:
        """Give the store what it does not have. While it cannot take it, everything else goes on."""
        unsaved = self.analysis.memory.unsaved
        if not unsaved or now < self._store_again:
            return
        try:
            self.parts.store.save(list(unsaved.values()), self._now)
        except StoreError as error:
            self._store_again = now + LOCKED
            self.troubles.note("store", "failed", str(error))
            return
        unsaved.clear()
        self.troubles.mended("store", "failed", "the store takes incidents again")

    def _decide(self) -> None:
        """What is to be said now; nothing during the backlog of a start."""
        due = self.dispatcher.due()
        if not self.caught_up or not (self._changed or (due is not None and due <= self._now)):
            return
        self._changed = False
        memory = self.analysis.memory
        self._intents += self.dispatcher.decide(memory.book.records, self.silences, self._now, memory.now)
        self._dirty = True

    # Checkpoints.

    def _save_when_due(self, now: float) -> None:
        self._settle()
        last = self.saver.last
        wait = 0.0 if self._intents else max(last.cost * SHARE, CHECKPOINT)
        if not self.saver.busy and now - last.at >= (RETRY if last.failed else wait):
            self.save(now)

    def save(self, now: float, *, wait: bool = False) -> None:
        """A checkpoint: all or nothing. With `wait`, it is written when this returns, or could not be."""
        begun = time.perf_counter()
        self._settle(wait=True)
        place = Place(self.inputs.positions(), list(self.order.held))
        self._history.add(self.analysis.engine.observed(), place)
        parts = {
            **self.analysis.snapshot(),
            **checkpoint.encode(place, self._history),
            "told": self.dispatcher.snapshot(),
            "now": str(self._now).encode(),
        }
        self.saver.begin(Copy(parts, self._intents, place.positions, begun), now)
        self._intents, self._dirty = [], False
        self._settle(wait=wait)

    def _settle(self, *, wait: bool = False) -> None:
        """See what came of the checkpoint that was written last. Positions are committed only now."""
        found = self.saver.finished(wait=wait)
        if found is None:
            return
        copy, error = found
        try:
            if error is not None:
                raise error
            self.inputs.commit(copy.positions)
        except HeadwaterError as failed:
            self.troubles.note("checkpoint", "failed", str(failed))
        else:
            self.troubles.mended("checkpoint", "failed", "checkpoints are saved again")
        if error is not None:
            self._intents, self._dirty = [*copy.intents, *self._intents], True

    def _seek(self, positions: Mapping[str, object] | None, begin: Mapping[str, object] | None = None) -> None:
        for text in self.inputs.seek(positions, begin):
            self.troubles.note("sources", "position", text)

    def _begin_again(self, error: StateError, place: Place) -> None:
        """The rules are others: read the last two hours anew, as far as they are still there."""
        log.warning(f"{error}; the last two hours are read anew, as far as they are still there")
        self._seek(place.positions, self._history.oldest())
        self._history = History()

    def _note_troubles(self) -> None:
        for who, trouble in self.inputs.troubles():
            self.troubles.note(who, trouble.kind, trouble.text, subject=trouble.subject, amount=trouble.amount)
        for who, text in self.inputs.errors():
            self.troubles.note(who, "failed", text)


def _log(change: Change) -> None:
    """A line for what people may want to find in the service's own log: roots that begin and end."""
    incident = change.record.incident
    if incident.cause is not None or incident.status == "near_miss" or change.kind == "refreshed":
        return
    log.info(incident.summary or incident.title, incident=change.record.id, status=incident.status, change=change.kind)
