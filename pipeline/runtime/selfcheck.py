"""Headwater looks at itself: its own failures become rows, and signatures of the layer `headwater` decide what they come to.

A finding is said again every `AGAIN` seconds while it holds, so that the incident ends by itself when it no longer does, and in
the same words, numbers included, so that nobody is told anew. It is a source like any other: its rows go through the log, and a
replay of the log finds the same.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts.source import Position, SourceStatus, Trouble
from pipeline.model import words
from pipeline.model.public import rfc3339
from pipeline.model.stream import RawBatch, Stream

NAME = "headwater"
EVERY, AGAIN = 10.0, 60.0
"""Seconds between two looks, and between two rows of one finding."""
DOWN = 300.0
"""Seconds without a delivery after which a sink counts as down."""
QUIET, STEADY = 600.0, 60.0
"""Seconds of silence that are news of a source that gave something at least every `STEADY` seconds before."""
SLOW = 0.25
"""Seconds that one signature may cost at every look: so much later everything is told. The share of all time says nothing: looks
are paced by what they cost.
"""
UNKNOWN, LINES = 0.2, 200
"""Share of lines that a format did not understand, of at least so many since the last look; before it was a quarter of it."""

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the service. `check` and `subject` have no spaces."""

    check: str
    subject: str
    text: str


@dataclass(slots=True)
class _Heard:
    """How steadily a source gives: the longest silence of its last hundred looks with rows."""

    bytes: int = 0
    since: float = 0.0
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=100))


class SelfCheck:
    """A source of what is wrong with the service itself; `look` fills it."""

    rereadable = False
    live = True

    def __init__(self, cluster: str, instance: str) -> None:
        """`instance` tells this run of the service from every other."""
        self._stream = Stream(f"{NAME}#{instance}", "plain", NAME, cluster=cluster or None, container=NAME)
        self._offset = 0
        self._rows: list[bytes] = []
        self._looked: float | None = None
        self._said: dict[tuple[str, str], tuple[float, str]] = {}
        self._counted: Counter[tuple[str, str]] = Counter()
        self._shares: dict[tuple[str, str], float] = {}
        self._heard: dict[str, _Heard] = {}

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        return self._looked is None or now - self._looked >= EVERY

    def look(self, report: Report, now: float, at: int) -> None:
        """Examine a report; `now` is monotonic seconds, `at` the present in microseconds since 1970, the time of the rows."""
        passed = now - self._looked if self._looked is not None else 0.0
        found = [
            *self._rules(report["rules"], passed, ready=report["ready"]),
            *self._formats(report),
            *self._caps(report["caps"]),
        ]
        found += [*self._sinks(report["receivers"]), *self._sources(report["sources"], now)]
        self._looked = now
        for finding in found:
            key = (finding.check, finding.subject)
            when, text = self._said.get(key, (-math.inf, ""))
            if now - when > 2 * AGAIN:
                text = finding.text
            if now - when >= AGAIN:
                self._said[key] = now, text
                self._rows.append(_line(finding, text, at))

    def poll(self, budget: int, now: float) -> Sequence[RawBatch]:
        """The rows since the last call."""
        if not self._rows or budget <= 0:
            return []
        batch = RawBatch(self._stream, b"".join(self._rows), self._offset)
        self._offset += len(batch.data)
        self._rows = []
        return [batch]

    def more(self) -> bool:
        """Never: all is given at once."""
        return False

    def position(self) -> Position:
        """Nothing can be read again."""
        return {}

    def seek(self, position: Position) -> None:
        """The same."""

    def commit(self, position: Position) -> None:
        """The same."""

    def troubles(self) -> Sequence[Trouble]:
        """None of its own."""
        return []

    def status(self) -> SourceStatus:
        """Always there."""
        return SourceStatus(alive=True, waiting=None, streams=1)

    def finished(self) -> bool:
        """It keeps no one waiting."""
        return not self._rows

    def close(self) -> None:
        """Nothing is held."""

    def _rules(self, rules: Report, passed: float, *, ready: bool) -> Iterator[Finding]:
        for name, number in rules["errors"].items():
            if more := self._more("errors", name, number):
                yield Finding(
                    "rule_failing", name, f"{more} failures in {words.lasted(round(passed * 1e6))}: {rules['examples'][name]}"
                )
        looks = self._more("looks", "", rules["looks"])
        for name, seconds in rules["seconds"].items():
            spent = self._more("milliseconds", name, round(seconds * 1000)) / 1000
            if (
                passed and ready and looks and spent > looks * SLOW
            ):  # the first look prepares, those in a backlog see much at once
                yield Finding("rule_slow", name, f"took {spent / max(1, looks):.1f} s at every look")

    def _formats(self, report: Report) -> Iterator[Finding]:
        every = {
            name: (unknown, max(report["lines"].get(name, 0), report["understood"].get(name, 0) + unknown))
            for name, unknown in report["unparsed"].items()
        }
        some = {name: (report["unknown"].get(name, 0), number) for name, number in report["sampled"].items()}
        for kind, counts in (("lines", every), ("sample", some)):
            for name, (unknown, total) in counts.items():
                yield from self._share(kind, name, unknown, total, report["examples"])

    def _share(self, kind: str, name: str, unknown: int, total: int, examples: Mapping[str, str]) -> Iterator[Finding]:
        """Whether a much larger share than before of a format's lines was not understood."""
        at = kind, name
        new, lines = unknown - self._counted[f"unknown {kind}", name], total - self._counted[f"total {kind}", name]
        if lines < LINES:
            return
        self._counted[f"unknown {kind}", name], self._counted[f"total {kind}", name] = unknown, total
        share, before = new / lines, self._shares.get(at, 0.0)
        if share >= UNKNOWN and before < share / 4:
            text = f"{new} of {lines} lines were not understood, {before:.0%} before: {examples.get(name, '')}"
            yield Finding("parser_unknown", name, text)
        else:
            self._shares[at] = share

    def _caps(self, caps: Report) -> Iterator[Finding]:
        for name, number in caps.items():
            if more := self._more("caps", name, number):
                yield Finding("cap_reached", name, f"{more} or more")

    def _sinks(self, receivers: Mapping[str, Report]) -> Iterator[Finding]:
        for name, status in receivers.items():
            if status["down_seconds"] >= DOWN:
                down = words.lasted(round(status["down_seconds"] * 1e6))
                yield Finding("sink_down", name, f"no delivery for {down}, {status['pending']} wait: {status['error']}")

    def _sources(self, sources: Sequence[Report], now: float) -> Iterator[Finding]:
        for source in sources:
            heard = self._heard.setdefault(source["name"], _Heard(source["bytes"], now))
            silent = now - heard.since
            if source["bytes"] != heard.bytes:
                heard.gaps.append(silent)
                heard.bytes, heard.since = source["bytes"], now
            elif not source["alive"] and silent >= DOWN and not source["finished"]:
                yield Finding("source_quiet", source["name"], f"cannot be read: {source['error'] or 'no reason is known'}")
            elif len(heard.gaps) > STEADY / EVERY and max(heard.gaps) <= STEADY and silent >= QUIET and not source["finished"]:
                text = f"nothing for {words.lasted(round(silent * 1e6))}, though it gave something every minute before"
                yield Finding("source_quiet", source["name"], text)

    def _more(self, what: str, name: str, number: int) -> int:
        """How much a counter has grown since the last look; its first value counts as grown."""
        before = self._counted[what, name]
        self._counted[what, name] = number
        return max(0, number - before)


def _line(finding: Finding, text: str, at: int) -> bytes:
    subject = "_".join(finding.subject.split()) or "unknown"
    return f"headwater/{finding.check} at={rfc3339(at)} subject={subject} {words.flat(text, 500)}\n".encode()
