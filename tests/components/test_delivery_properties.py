"""From incidents to people, with everything on the way going wrong: dispatcher, ledger and outbox beside a run that nothing disturbs.

Incidents live at random. The process is killed at random moments and goes on from what was saved, sinks refuse, take and lose the
answer, or are there when the process dies; the ledger is locked now and then. Where the process reads again what came after its last
checkpoint, people end up with the very notifications of the undisturbed run; where it has missed that, with the truth all the same.
"""

import dataclasses
import random
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from pipeline.config import Route
from pipeline.contracts.sink import OVER, Notification, Receipt
from pipeline.contracts.store import Matcher, Silence
from pipeline.errors import DeliveryError, StoreError
from pipeline.model.incident import Record
from pipeline.runtime import roots
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.ledger import Intent, Ledger
from pipeline.runtime.outbox import Outbox
from tests.components import lives, told
from tests.components.lives import SECOND, START

pytestmark = pytest.mark.integration

ROUTE = Route.model_validate(
    {
        "routes": [
            {"receiver": "chat", "group_wait": "10s", "group_interval": "1m", "repeat_interval": "1h", "continue": True},
            {"receiver": "team", "matchers": ["node=~a|b"], "group_by": ["cluster"], "group_wait": "0s", "group_interval": "1m",
             "continue": True},
            {"receiver": "pager", "group_wait": "0s", "group_interval": "30s", "daily_cap": 2},
        ]
    }
)  # fmt: skip
UPDATES = {"chat": True, "team": True, "pager": False}
LEVELS = ("low", "medium", "high", "critical")
NAMES = st.sampled_from("abcde")
RECEIVERS = st.sampled_from(sorted(UPDATES))
FATES = st.lists(st.sampled_from(("taken", "refused", "lost", "killed before", "killed after")), max_size=4)
SETTLED = 120.0
"""Seconds that are longer than any wait of the routes but that for a repeat."""


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Target:
    """The system behind a sink: what it was told, in order. `fates` says what becomes of the next deliveries."""

    updates: bool
    told: list[Notification] = field(default_factory=list)
    fates: list[str] = field(default_factory=list)

    def deliver(self, notification: Notification, _: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        fate = self.fates.pop(0) if self.fates else "taken"
        assert now == told.NOW
        assert repeat or notification.key not in {known.key for known in self.told}
        if fate in ("taken", "lost", "killed after"):
            self.told.append(notification)
        if fate.startswith("killed"):
            raise Killed
        if fate != "taken":
            raise DeliveryError(fate, retry=True)
        return {"key": notification.key}

    def close(self) -> None:
        """Nothing to let go of."""

    def threads(self) -> dict[str, list[Notification]]:
        """What each thread was told, without repeats of a key."""
        found: dict[str, dict[str, Notification]] = defaultdict(dict)
        for notification in self.told:
            found[notification.thread].setdefault(notification.key, notification)
        return {thread: list(said.values()) for thread, said in found.items()}


@dataclass(frozen=True)
class Moment:
    """A look at the incidents: all that a decision is made of."""

    records: dict[str, Record]
    silences: tuple[Silence, ...]
    now: int


class Process:
    """What runs between two kills: it goes on with the moment behind the last one that was saved."""

    def __init__(self, path: Path, targets: dict[str, Target]) -> None:
        self.ledger = Ledger(path, patience=0.01)
        parts = self.ledger.parts()
        self.seen = int(parts.get("seen", b"0"))
        self.dispatcher = Dispatcher(ROUTE, UPDATES, None, parts.get("told"))
        self.intents: list[Intent] = []
        self.outbox = Outbox(self.ledger, targets, chance=random.Random(0), clock=lambda: told.NOW)  # noqa: S311 (spreads attempts)

    def look(self, moments: Sequence[Moment]) -> None:
        for moment in moments[self.seen :]:
            self.intents += self.dispatcher.decide(moment.records, moment.silences, moment.now)
        self.seen = len(moments)

    def save(self) -> None:
        self.ledger.save({"seen": b"%d" % self.seen, "told": self.dispatcher.snapshot()}, self.intents)
        self.intents = []


class Delivery(RuleBasedStateMachine):
    """The process reads again what it had seen after its last checkpoint."""

    rereads = True

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.db"
        self.records: dict[str, Record] = {}
        self.silences: dict[str, Silence] = {}
        self.moments: list[Moment] = []
        self.now, self.clock = START, 0.0
        self.calm, self.heard = Dispatcher(ROUTE, UPDATES, None), {name: Target(follows) for name, follows in UPDATES.items()}
        self.targets = {name: Target(follows) for name, follows in UPDATES.items()}
        self.process = Process(self.path, self.targets)

    # The lives of incidents.

    @rule(name=NAMES, level=st.sampled_from(LEVELS))
    def happens(self, name: str, level: str) -> None:
        """It begins, comes back, or its level changes."""
        self._change(name, status="firing", ended=None, level=level, vetoed=False)

    @rule(name=NAMES)
    def ends(self, name: str) -> None:
        self._change(name, status="resolved", ended=self.now)

    @rule(name=NAMES)
    def turns_out_to_be_nothing(self, name: str) -> None:
        self._change(name, status="near_miss")

    @rule(name=NAMES, cause=st.none() | NAMES)
    def has_a_cause(self, name: str, cause: str | None) -> None:
        """Or none any more."""
        self._change(name, cause=cause if cause != name and cause in self.records else None)

    @rule(name=NAMES)
    def is_withdrawn(self, name: str) -> None:
        if record := self._change(name, status="resolved", ended=self.now):
            self.records[name] = dataclasses.replace(record, public={**record.public, "withdrawn": True})

    @rule(name=NAMES, into=NAMES)
    def is_merged(self, name: str, into: str) -> None:
        if name in self.records and into in self.records and name != into and not self.records[into].merged_into:
            record = self.records[name]
            self.records[name] = dataclasses.replace(record, merged_into=into, revision=record.revision + 1)

    @rule(name=NAMES)
    def is_forgotten(self, name: str) -> None:
        if name in self.records and not roots.is_firing(self.records[name]):
            del self.records[name]

    @rule(name=NAMES, seconds=st.sampled_from((30, 5000)))
    def is_silenced(self, name: str, seconds: int) -> None:
        ends = self.now + seconds * SECOND
        self.silences[name] = Silence(name, (Matcher("node", "=", name),), self.now, ends, "me", "")

    @rule(name=NAMES)
    def is_no_longer_silenced(self, name: str) -> None:
        self.silences.pop(name, None)

    def _change(self, name: str, **changes: Any) -> Record | None:
        record = self.records.get(name)
        if record is None and changes.get("status") == "firing":
            made = lives.incident(name, at=self.now, **lives.on(node=name), **changes)
            self.records[name] = lives.record(made, opened=self.now)
        elif record is not None and record.merged_into is None:
            self.records[name] = lives.again(record, dataclasses.replace(record.incident, **changes))
        return self.records.get(name)

    # What the process does, and what happens to it.

    @rule(seconds=st.sampled_from((0.1, 5.0, SETTLED, 4000.0, 90_000.0)))
    def time_passes(self, seconds: float) -> None:
        """And both runs look at the incidents."""
        self.now += round(seconds * SECOND)
        moment = Moment(dict(self.records), tuple(self.silences.values()), self.now)
        self.moments.append(moment)
        self.process.look(self.moments)
        for intent in self.calm.decide(moment.records, moment.silences, moment.now):
            self.heard[intent.receiver].told.append(intent.notification)

    @rule()
    def it_saves(self) -> None:
        self.process.save()

    @rule(receiver=RECEIVERS, fates=FATES, seconds=st.sampled_from((0.0, 1.0, 400.0)))
    def it_delivers(self, receiver: str, fates: list[str], seconds: float) -> None:
        self.clock += seconds
        self.targets[receiver].fates = list(fates)
        try:
            self.process.outbox.step(receiver, self.clock)
        except Killed:
            self.it_is_killed()

    @rule(fates=st.fixed_dictionaries(dict.fromkeys(UPDATES, FATES)))
    def it_works_for_a_while(self, fates: dict[str, list[str]]) -> None:
        """A look, a checkpoint, deliveries: as it goes most of the time."""
        self.time_passes(SETTLED)
        self.it_saves()
        for receiver, what in fates.items():
            self.it_delivers(receiver, what, 400.0)

    @rule(receiver=RECEIVERS)
    def the_ledger_is_locked(self, receiver: str) -> None:
        """Nothing is saved and nothing is begun; all of it may be tried again."""
        before = len(self.targets[receiver].told)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError):
                self.process.save()
            self.process.outbox.step(receiver, self.clock)
        assert len(self.targets[receiver].told) == before

    @rule()
    def it_is_killed(self) -> None:
        self.process.ledger.close()
        self.process = Process(self.path, self.targets)
        if not self.rereads:
            self.process.seen = len(self.moments)

    # The end.

    def teardown(self) -> None:
        try:
            self._settle()
            self._check()
        finally:
            self.process.ledger.close()
            self.folder.cleanup()

    def _settle(self) -> None:
        """Silences end, group waits end, sinks are well."""
        self.silences.clear()
        for _ in range(4):
            self.time_passes(SETTLED)
        self.process.look(self.moments)
        self.process.save()
        for name, target in self.targets.items():
            target.fates = []
            while (wait := self.process.outbox.step(name, self.clock)) is not None:
                self.clock += wait

    def _check(self) -> None:
        for name, target in self.targets.items():
            calm, here = self.heard[name].threads(), target.threads()
            self._is_true(name, calm)
            self._is_true(name, here)
            if self.rereads:
                assert {thread: said[-1] for thread, said in here.items()} == {thread: said[-1] for thread, said in calm.items()}
                for thread, said in here.items():
                    order = [one.key for one in calm[thread]]
                    assert [one.key for one in said] == [key for key in order if key in {one.key for one in said}]

    def _is_true(self, name: str, threads: dict[str, list[Notification]]) -> None:
        """People have one open conversation about each root that goes on, as it is, and none about anything else."""
        last = [said[-1] for said in threads.values() if said[-1].event not in OVER]
        digests = [one for one in last if not one.incident]
        spoken = sorted(one.incident["id"] for one in last if one.incident)
        going = {record.thread: record for record in roots.Roots(self.records).all() if roots.is_firing(record)}
        assert len(digests) <= 1
        if name == "chat":
            assert spoken == sorted(going)
            assert {one.incident["id"]: one.revision for one in last} == {thread: r.revision for thread, r in going.items()}
        else:
            assert len(set(spoken)) == len(spoken)
            assert set(spoken) <= set(going)


class Missing(Delivery):
    """The process has missed what it had seen after its last checkpoint: the world went on."""

    rereads = False


TestRereading = Delivery.TestCase
TestMissing = Missing.TestCase
TestRereading.settings = TestMissing.settings = settings(stateful_step_count=40)
