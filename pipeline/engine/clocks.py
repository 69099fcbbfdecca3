"""How far each source has come in event time, and who gave a sign of life when.

All of it is a function of the set of times seen, not of the order in which they came: a stream that is read first must not
make the others look late or implausible.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

SECOND = 1_000_000
MINUTE = 60 * SECOND
LATENESS = 30 * SECOND
IDLE = 60 * SECOND
AHEAD = 5
"""Minutes: a time further ahead of everything else than this must be confirmed by another node."""


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

        Walking up the minutes, a gap of more than `AHEAD` is crossed only where at least two witnesses stand behind it: two
        nodes, or on a single node two streams. A lone witness has no one to contradict it.
        """
        if self._trusted is not None:
            return self._trusted
        nodes = {clock.node for clock in self.streams.values() if clock.node}
        witnesses: dict[int, set[str]] = defaultdict(set)
        for name, clock in self.streams.items():
            who = clock.node if len(nodes) > 1 and clock.node else name
            for minute in clock.minutes:
                witnesses[minute].add(who)
        everyone = set().union(*witnesses.values()) if witnesses else set()
        frontier: int | None = None
        accepted: set[int] = set()
        ordered = sorted(witnesses)
        for at, minute in enumerate(ordered):
            if frontier is not None and minute > frontier + AHEAD and len(everyone) > 1 and not self.trusting:
                near = set().union(*(witnesses[m] for m in ordered[at:] if m <= minute + AHEAD))
                if len(near) < 2:  # noqa: PLR2004 (one witness is not enough)
                    continue
            frontier = minute
            accepted.add(minute)
        newest = {
            name: max(newest for minute, (_, newest) in clock.minutes.items() if minute in accepted)
            for name, clock in self.streams.items()
            if not accepted.isdisjoint(clock.minutes)
        }
        self._trusted = (max(newest.values(), default=0), newest)
        return self._trusted
