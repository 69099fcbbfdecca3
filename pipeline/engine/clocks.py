"""How far each source has come in event time, and who gave a sign of life when.

All of it is a function of the set of times seen, not of the order in which they came: a stream that is read first must not
make the others look late or implausible.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.signatures.logsource import OBJECTS

SECOND = 1_000_000
MINUTE = 60 * SECOND
LATENESS = 30 * SECOND
IDLE = 60 * SECOND
AHEAD = 5
"""Minutes: a time further ahead of everything else than this must be confirmed by another node."""
CONFIRMED = 60
"""Minutes behind such a time in which it may be confirmed."""


@dataclass(slots=True)
class Clock:
    """One stream: the oldest and the newest time seen in each minute. `source` is what kind of rows it gives."""

    source: str
    node: str | None
    minutes: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Clocks:
    """The clocks of all streams."""

    streams: dict[str, Clock] = field(default_factory=dict)
    trusting: bool = False
    """Take every time as it is: files of which nobody says that they belong together."""
    _trusted: tuple[int, dict[str, int]] | None = None

    def hear(self, stream: str, source: str, node: str | None, minutes: dict[int, tuple[int, int]]) -> None:
        """A stream gave rows: minute (since 1970) to the oldest and newest time in it (microseconds)."""
        clock = self.streams.setdefault(stream, Clock(source, node))
        for minute, (oldest, newest) in minutes.items():
            known = clock.minutes.get(minute, (oldest, newest))
            clock.minutes[minute] = (min(oldest, known[0]), max(newest, known[1]))
        self._trusted = None

    def newest(self) -> int:
        """The newest plausible event time (microseconds), 0 while there is none."""
        return self._plausible()[0]

    def begun(self, kinds: Collection[str]) -> int:
        """The earliest event time (microseconds) that streams of these kinds gave within two hours of the newest.

        Streams of other kinds may have begun long before: events are kept for an hour before anything is read. Where there is no
        stream of these kinds, that of all streams.
        """
        last = self.newest() // MINUTE
        named = [clock for clock in self.streams.values() if clock.source in kinds]
        found = (
            oldest
            for clock in named or self.streams.values()
            for minute, (oldest, _) in clock.minutes.items()
            if last - 120 <= minute <= last
        )
        return min(found, default=0)

    def watermark(self) -> int:
        """Event time up to which everything is expected to have arrived: the slowest source that is not idle, less lateness."""
        newest, streams = self._plausible()
        active = [at for at in streams.values() if at >= newest - IDLE]
        return min(active, default=newest) - LATENESS

    def implausible(self) -> list[str]:
        """Streams that gave times which nothing else confirms."""
        newest = self.newest() // MINUTE
        return sorted(name for name, clock in self.streams.items() if clock.minutes and max(clock.minutes) > newest)

    def minutes_of(self, node: str) -> set[int]:
        """The minutes in which a node gave any sign."""
        return {minute for clock in self.streams.values() if clock.node == node for minute in clock.minutes}

    def forget(self, before: int) -> None:
        """Drop what is older than a time (microseconds)."""
        for name, clock in list(self.streams.items()):
            clock.minutes = {minute: at for minute, at in clock.minutes.items() if minute >= before // MINUTE}
            if not clock.minutes:
                del self.streams[name]
        self._trusted = None

    def _plausible(self) -> tuple[int, dict[str, int]]:
        """The frontier of plausible time, and each stream's newest time up to it.

        Walking up the minutes, a gap of more than `AHEAD` is crossed where two witnesses stand within an hour behind it: two
        nodes, or on a single node two streams; or where what is before it was told by one alone, and not for long (events are
        kept for an hour before anything else is read). A lone witness has no one to contradict it. Objects bear witness, since
        they are watched, but contradict nobody, since most are as old as what they describe.
        """
        if self._trusted is not None:
            return self._trusted
        nodes = {clock.node for clock in self.streams.values() if clock.node}
        witnesses: dict[int, set[str]] = defaultdict(set)
        objects: set[str] = set()
        for name, clock in self.streams.items():
            who = clock.node if len(nodes) > 1 and clock.node else name
            if clock.source == OBJECTS:
                objects.add(who)
            for minute in clock.minutes:
                witnesses[minute].add(who)
        accepted = set(witnesses) if self.trusting else _accepted(witnesses, objects)
        newest = {
            name: max(newest for minute, (_, newest) in clock.minutes.items() if minute in accepted)
            for name, clock in self.streams.items()
            if not accepted.isdisjoint(clock.minutes)
        }
        self._trusted = (max(newest.values(), default=0), newest)
        return self._trusted


def _accepted(witnesses: Mapping[int, set[str]], objects: set[str]) -> set[int]:
    """The plausible of the minutes in which someone gave a sign of life."""
    told = {minute for minute, who in witnesses.items() if who - objects}
    contested = len(set().union(*witnesses.values()) - objects) > 1
    accepted: set[int] = set()
    run: list[int] = []
    ordered = sorted(witnesses)
    for at, minute in enumerate(ordered):
        if run and minute > run[-1] + AHEAD and (contested or minute not in told):
            behind = [later for later in ordered[at:] if later <= minute + CONFIRMED]
            alone = len(set().union(*(witnesses[before] for before in run))) == 1
            longer = alone and len(run) <= min(len(told.intersection(behind)), AHEAD)
            if not longer and len(set().union(*(witnesses[later] for later in behind))) == 1:
                continue
        accepted.add(minute)
        if minute in told:
            run = [*run, minute] if run and minute <= run[-1] + AHEAD else [minute]
    return accepted
