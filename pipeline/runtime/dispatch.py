"""What is to be said to whom, and when: from the lives of incidents to notifications. Pure: no clock, no I/O.

* Each root incident is one conversation with each receiver. When a told symptom turns out to hang below a cause, or to be a part
  of another incident, that goes on in the earliest conversation there is about anything below it, unless it has one of its own;
  the others are closed as `folded`. An incident that stands for itself again gets its conversation back.
* Routes, groups and silences are Alertmanager's. The first notification of a group waits `group_wait`; later ones follow the one
  before by `group_interval` or more; what goes on unchanged is said again after `repeat_interval`. Where a route has no
  `group_by`, each incident is a group of its own, as with Alertmanager's `...`. A group decides only when things are said.
* A silence holds back beginnings, changes and repeats, but not the end of what was told: no conversation stays open for ever.
  What begins and ends within a silence is never told.
* Beyond `daily_cap` openings in a UTC day the rest goes into one digest a day; our own failures (layer `headwater`) never do.
  The digest is closed when the day is over.
* A receiver that cannot follow an incident hears of its beginning, of a rise of its level, of a new cause, and of the end.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Route
from pipeline.contracts.sink import OVER, Event, Notification
from pipeline.contracts.store import Silence
from pipeline.model import public, words
from pipeline.model.incident import Record
from pipeline.runtime import notify, roots, routes, talks
from pipeline.runtime.ledger import Intent
from pipeline.runtime.roots import Form, Roots
from pipeline.runtime.routes import Target
from pipeline.runtime.talks import Day, Group, Talk
from pipeline.signatures.models import LEVELS

SECOND = 1_000_000
DAY = 86_400 * SECOND
RECENT = 3600 * SECOND
"""Microseconds after its end within which an incident that nobody was told of is still worth a word."""
OURS = "headwater"
LINE = 300


@dataclass(frozen=True, slots=True)
class Want:
    """Something to be said: `event` about a record (its thread, revision and form) in a conversation, a new one where `talk` is
    None.
    """

    target: Target
    group: str
    event: Event
    record: str
    revision: int
    form: Form
    talk: Talk | None = None
    part_of: Form | None = None


class Dispatcher:
    """Decides for the receivers in `updates`, which says of each whether it can follow an incident. `link` is the address below
    which incidents are found by their ids. `told` is a `snapshot`; StateError is raised where it cannot be read.
    """

    def __init__(self, route: Route, updates: Mapping[str, bool], link: str | None, told: bytes | None = None) -> None:
        self._route, self._updates, self._link = route, updates, link
        self._told = talks.load(told) if told else talks.Told()
        self._told.keep(updates)
        self._due: list[int] = []
        self._present = 0

    def snapshot(self) -> bytes:
        """What people have been told, for another process."""
        return talks.dump(self._told)

    def due(self) -> int | None:
        """When (microseconds since 1970) something is to be decided although nothing changes; as of the last `decide`."""
        return min(self._due, default=None)

    def decide(
        self, records: Mapping[str, Record], silences: Sequence[Silence], now: int, present: int | None = None
    ) -> list[Intent]:
        """All that is to be said at `now`, of the records (by thread) as they stand. `present` is how far the events have come
        (default: `now`); what had ended an hour before that and was never told is no news.
        """
        self._told.set_clock(now)
        self._present = now if present is None else present
        self._due = []
        tree = Roots(records)
        active = [silence for silence in silences if silence.starts <= now < silence.ends]
        waiting: dict[tuple[str, str], list[Want]] = defaultdict(list)
        for want in self._wanted(tree, active, now):
            waiting[want.target.receiver, want.group].append(want)
        intents = [
            intent
            for key, wants in waiting.items()
            if self._is_ready(key, wants[0].target, now)
            for intent in self._said(wants, tree, now)
        ]
        intents += self._digests(tree, now)
        self._forget(tree, waiting, now)
        return intents

    def _wanted(self, tree: Roots, active: Sequence[Silence], now: int) -> Iterator[Want]:
        """What would be said if no group had to wait."""
        found, lost = self._assigned(tree)
        for talk in lost:
            form = roots.withdrawn(talk.form)
            yield Want(talk.target, talk.group, "resolved", talk.record, talk.revision + 1, form, talk)
        for record in tree.all():
            values = routes.labels(roots.form(record))
            here = found.get(record.thread, {})
            until = _silenced(active, values)
            for target in self._targets(values, here):
                before = here.get(target.receiver, [])
                wants = list(self._of(record, target, before, tree, now))
                if not wants or until is None or (before and not roots.is_firing(record)):
                    yield from wants
                elif roots.is_firing(record):
                    self._due.append(until)
                    yield from _ends(wants[0], before, tree)
                else:
                    self._told.heard[target.receiver, record.thread] = False

    def _assigned(self, tree: Roots) -> tuple[dict[str, dict[str, list[Talk]]], list[Talk]]:
        """The conversations about what each root speaks for, by root and receiver; and open ones about which nothing is known."""
        found: dict[str, dict[str, list[Talk]]] = defaultdict(lambda: defaultdict(list))
        lost = []
        for (receiver, _), talk in self._told.talks.items():
            base = _base(talk, tree.records)
            if base is not None:
                found[tree.of(base).thread][receiver].append(talk)
            elif not talk.over:
                lost.append(talk)
        return found, lost

    def _targets(self, values: Mapping[str, str], here: Mapping[str, Sequence[Talk]]) -> list[Target]:
        """Who hears of a root: those that its route names, and those that are in the middle of a conversation about it."""
        found: dict[str, Target] = {}
        for target in routes.targets(self._route, values):
            if target.receiver in self._updates:
                found.setdefault(target.receiver, target)
        for receiver in sorted(here):
            open_ = [talk for talk in here[receiver] if not talk.over]
            if open_:
                found.setdefault(receiver, open_[0].target)
        return list(found.values())

    def _of(self, record: Record, target: Target, here: Sequence[Talk], tree: Roots, now: int) -> Iterator[Want]:
        """What one receiver would be told of one root."""
        main = _main(record, here)
        group = repr(target.group) if target.group else record.thread
        want = Want(target, group, "updated", record.thread, record.revision, roots.form(record), main)
        event = self._first(record, target) if main is None else self._next(record, main)
        if event is not None:
            yield dataclasses.replace(want, event=event)
        elif main is not None and not main.over and roots.is_firing(record) and self._updates[target.receiver]:
            at = main.last + round(target.repeat * SECOND)
            if at <= now:
                yield want
            else:
                self._due.append(at)
        for talk in here:
            if talk is not main and not talk.over:
                yield _folding(talk, want, tree)

    def _first(self, record: Record, target: Target) -> Event | None:
        """The first word about a root that has no conversation."""
        in_digest = self._told.heard.get((target.receiver, record.thread))
        if roots.is_firing(record):
            return None if in_digest else "opened"
        is_news = roots.is_real(record) and in_digest is None and not record.public.get("withdrawn")
        return "resolved" if is_news and roots.ended(record, self._present, RECENT) else None

    def _next(self, record: Record, talk: Talk) -> Event | None:
        """The next word in a conversation, if there is news."""
        if not roots.is_firing(record):
            return None if talk.over else "resolved"
        if talk.over:
            return "opened"
        if talk.record != record.thread:
            return "updated"
        rise = LEVELS.index(record.public["level"]) > LEVELS.index(talk.level)
        return "updated" if talk.revision != record.revision and (rise or self._updates[talk.target.receiver]) else None

    def _is_ready(self, key: tuple[str, str], target: Target, now: int) -> bool:
        """Whether a group may be told now; notes that it was, or when it may."""
        group = self._told.groups.setdefault(key, Group(now, None, target.interval))
        group.interval = target.interval
        wait = target.wait if group.last is None else target.interval
        ready = (group.since if group.last is None else group.last) + round(wait * SECOND)
        if ready > now:
            self._due.append(ready)
            return False
        group.last = now
        return True

    def _said(self, wants: Iterable[Want], tree: Roots, now: int) -> Iterator[Intent]:
        """The notifications of a group, and the notes of them."""
        for want in wants:
            receiver = want.target.receiver
            if want.talk is None and not self._has_room(want, now):
                self._told.heard[receiver, want.record] = True
                continue
            self._told.heard[receiver, want.record] = False
            yield Intent(receiver, self._tell(want, tree, now))

    def _has_room(self, want: Want, now: int) -> bool:
        """Whether a conversation may be opened today; else it goes into the day's digest."""
        if want.form["layer"] == OURS:
            return True
        day = self._told.days.setdefault((want.target.receiver, words.day(now)), Day())
        cap = want.target.daily_cap
        if cap is None or day.openings < cap:
            day.openings += 1
            return True
        day.lines[want.record] = _line(want.form)
        day.interval = want.target.interval
        return False

    def _tell(self, want: Want, tree: Roots, now: int) -> Notification:
        talk = want.talk
        thread = want.record if talk is None else talk.thread
        said = dict(talk.said) if talk else {}
        revision, times = said.get(want.record, (0, 0))
        times = times + 1 if revision == want.revision else 0
        said[want.record] = (want.revision, times)
        key = f"{thread}.{want.record}.{want.revision}.{want.event}" + (f".{times}" if times else "")
        self._told.talks[want.target.receiver, thread] = Talk(
            thread=thread,
            target=want.target,
            group=want.group,
            began=now if talk is None else talk.began,
            last=now,
            record=want.record,
            revision=want.revision,
            level=want.form["level"],
            event=want.event,
            form={} if want.event in OVER else roots.brief(want.form),
            said=said,
        )
        made = notify.notification(
            want.form,
            {} if want.part_of else tree.forms,
            thread=thread,
            event=want.event,
            revision=want.revision,
            at=now,
            link=self._link,
        )
        return dataclasses.replace(made, key=key, part_of=want.part_of)

    def _digests(self, tree: Roots, now: int) -> Iterator[Intent]:
        """The digests that have grown, where it is time, and the last of those whose day is over."""
        today = words.day(now)
        for (receiver, date), day in sorted(self._told.days.items()):
            if date != today and day.lines:
                yield Intent(receiver, self._digest(date, day, "resolved", tree, now))
            elif day.lines:
                self._due.append(now - now % DAY + DAY)
                ready = now if day.last is None else day.last + round(day.interval * SECOND)
                if day.told < len(day.lines) and ready > now:
                    self._due.append(ready)
                elif day.told < len(day.lines):
                    yield Intent(receiver, self._digest(date, day, "digest", tree, now))

    def _digest(self, date: str, day: Day, event: Event, tree: Roots, now: int) -> Notification:
        """All that a day's digest holds, as it stands."""
        day.lines |= {thread: _line(roots.form(tree.records[thread])) for thread in day.lines if thread in tree.records}
        day.thread = day.thread or f"digest-{date}-{next(iter(day.lines))}"
        day.told, day.number, day.last = len(day.lines), day.number + 1, now
        return Notification(
            key=f"{day.thread}.{day.number}.{event}",
            thread=day.thread,
            event=event,
            at=now,
            labels={"severity": "informational"},
            incident={},
            revision=day.number,
            link=self._link,
            digest=tuple(day.lines.values()),
        )

    def _forget(self, tree: Roots, waiting: Mapping[tuple[str, str], Sequence[Want]], now: int) -> None:
        """Let go of what no later decision needs."""
        told, today = self._told, words.day(now)
        told.heard = {key: digest for key, digest in told.heard.items() if key[1] in tree.records}
        told.talks = {key: t for key, t in told.talks.items() if not t.over or _base(t, tree.records) is not None}
        told.days = {key: day for key, day in told.days.items() if key[1] == today}
        used = {(receiver, talk.group) for (receiver, _), talk in told.talks.items() if not talk.over}
        told.groups = {
            key: group
            for key, group in told.groups.items()
            if key in waiting or (group.last is not None and (key in used or group.last + round(group.interval * SECOND) > now))
        }


def _base(talk: Talk, records: Mapping[str, Record]) -> str | None:
    """The record that says where a conversation belongs: that of the incident it began with while that goes on, else the one it
    was last about.
    """
    home = records.get(talk.thread)
    if home is not None and (roots.is_firing(home) or talk.record not in records):
        return home.thread
    return talk.record if talk.record in records else None


def _main(record: Record, here: Sequence[Talk]) -> Talk | None:
    """The conversation in which a root is spoken of: its own, the one that it is in already, or the earliest that is open."""
    own = [talk for talk in here if talk.thread == record.thread]
    same = [talk for talk in here if talk.record == record.thread and not talk.over]
    others = sorted((talk for talk in here if not talk.over), key=lambda talk: (talk.began, talk.thread))
    return next(iter((*own, *same, *others)), None)


def _folding(talk: Talk, into: Want, tree: Roots) -> Want:
    """The end of a conversation about something that has turned out to be a part of what is told in another."""
    known = tree.records.get(talk.record)
    revision, form = (talk.revision, talk.form) if known is None else (known.revision, known.public)
    return Want(into.target, into.group, "folded", talk.record, revision, form, talk, part_of=into.form)


def _ends(silenced: Want, here: Sequence[Talk], tree: Roots) -> Iterator[Want]:
    """The ends of conversations about what hangs below a silenced cause: they were told, the cause was not."""
    for talk in here:
        known = tree.records.get(talk.record)
        if not talk.over and known is not None and known.merged_into is None and not roots.is_firing(known):
            form = roots.form(known)
            yield Want(silenced.target, silenced.group, "resolved", known.thread, known.revision, form, talk)


def _silenced(active: Iterable[Silence], values: Mapping[str, str]) -> int | None:
    """Until when labels are silenced by those silences that hold for them."""
    ends = [s.ends for s in active if all(routes.holds(matcher, values) for matcher in s.matchers)]
    return max(ends, default=None)


def _line(form: Form) -> str:
    """An incident in a digest."""
    over = " (ended)" if form["status"] == "resolved" else ""
    summary = words.flat(form["summary"] or form["title"], LINE)
    return f"{words.clock(public.microseconds(form['started']))} {form['level'].upper()}: {summary}{over}"
