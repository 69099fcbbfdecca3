"""Headwater looks at itself: what counts as wrong, how often it is said, and that it becomes an incident."""

from typing import Any

import pytest

from pipeline import parsers
from pipeline.engine.engine import Engine
from pipeline.runtime.selfcheck import SelfCheck
from pipeline.signatures import load

START = 1_795_000_000_000_000
SOURCE = {"name": "pods", "bytes": 0, "alive": True, "finished": False, "error": ""}
HEALTHY: dict[str, Any] = {
    "ready": True,
    "rules": {"errors": {}, "looks": 0, "seconds": {}, "examples": {}},
    "lines": {},
    "understood": {},
    "unparsed": {},
    "sampled": {},
    "unknown": {},
    "examples": {},
    "caps": {},
    "receivers": {},
    "sources": [],
}


class Watched:
    """A self-check with a clock of its own."""

    def __init__(self) -> None:
        self.check = SelfCheck("lab", "run")
        self.now = 1000.0

    def look(self, after: float = 10.0, **report: Any) -> list[str]:
        """The rows of a look so many seconds after the last."""
        self.now += after
        assert self.check.due(self.now)
        self.check.look(HEALTHY | report, self.now, START + round(self.now * 1e6))
        return [line for batch in self.check.poll(1 << 20, self.now) for line in batch.data.decode().splitlines()]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def receiver(seconds: float) -> dict[str, Any]:
    return {"chat": {"down_seconds": seconds, "pending": 3, "error": "refused"}}


def test_nothing_is_said_of_a_healthy_service(watched: Watched) -> None:
    """Not a row, however often it looks."""
    assert [watched.look() for _ in range(20)] == [[]] * 20


def test_a_sink_counts_as_down_after_five_minutes(watched: Watched) -> None:
    """Then it is said once a minute, for as long as it lasts."""
    assert watched.look(receivers=receiver(299)) == []
    said = [watched.look(receivers=receiver(300 + 10 * n)) for n in range(13)]
    assert [len(lines) for lines in said] == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert "headwater/sink_down" in said[0][0]
    assert "subject=chat" in said[0][0]
    assert watched.look(after=60, receivers=receiver(0)) == []


def test_a_finding_keeps_its_words_while_it_lasts(watched: Watched) -> None:
    """Numbers that grow would be news every minute; one that comes back later has words of its own."""
    said = [watched.look(after=60, receivers=receiver(seconds)) for seconds in (300, 360, 420)]
    assert [line.partition("subject=")[2] for [line] in said] == ["chat no delivery for 5m00s, 3 wait: refused"] * 3
    [later] = watched.look(after=600, receivers=receiver(480))
    assert "8m00s" in later


def test_a_rule_that_fails_or_takes_long_at_every_look(watched: Watched) -> None:
    """Only what is new counts; many cheap looks, as in a disaster, say nothing."""
    rules = {"errors": {"broken": 2}, "looks": 20, "seconds": {"slow": 4.0}, "examples": {"broken": "ComputeError: no"}}
    [failing] = watched.look(rules=rules)
    assert "rule_failing" in failing
    assert "2 failures" in failing
    assert watched.look(after=70, rules=rules) == []
    [slow] = watched.look(after=70, rules=rules | {"looks": 30, "seconds": {"slow": 8.0}})
    assert "rule_slow" in slow
    assert "subject=slow" in slow


def test_a_format_that_is_no_longer_understood(watched: Watched) -> None:
    """A jump of the share counts, not a share that was always so; few lines say nothing."""

    def look(total: int, unknown: int) -> list[str]:
        return watched.look(lines={"coredns": total}, unparsed={"coredns": unknown}, examples={"coredns": "odd line"})

    assert look(1000, 5) == []
    assert look(1100, 100) == []
    [said] = look(2000, 600)
    assert "parser_unknown" in said
    assert "595 of 1000 lines" in said


def test_a_format_that_changes_as_a_whole(watched: Watched) -> None:
    """Of lines that no rule looks for, some are looked at all the same."""

    def look(total: int, unknown: int) -> list[str]:
        return watched.look(
            lines={"coredns": total * 100}, sampled={"coredns": total}, unknown={"coredns": unknown}, examples={"coredns": "odd"}
        )

    assert look(600, 0) == []
    [said] = look(900, 290)
    assert "parser_unknown" in said
    assert "290 of 300 lines were not understood, 0% before: odd" in said


def test_a_cap_that_was_reached(watched: Watched) -> None:
    """With how much it cost since the last look."""
    [said] = watched.look(caps={"too_late": 12})
    assert "cap_reached" in said
    assert "12 or more" in said
    assert watched.look(after=70, caps={"too_late": 12}) == []


def test_a_source_that_has_gone_quiet(watched: Watched) -> None:
    """One that gave something every minute and then nothing for ten; one that seldom gives anything is no news."""
    given = 0
    for _ in range(10):
        given += 100
        assert watched.look(sources=[SOURCE | {"bytes": given}, SOURCE | {"name": "seldom"}]) == []
    said = [watched.look(after=60, sources=[SOURCE | {"bytes": given}, SOURCE | {"name": "seldom"}]) for _ in range(12)]
    assert [len(lines) for lines in said] == [0] * 9 + [1] * 3
    assert "source_quiet" in said[-1][0]
    assert "subject=pods" in said[-1][0]


def test_a_source_that_cannot_be_read(watched: Watched) -> None:
    """After five minutes, with its reason; one that has ended is none."""
    down = SOURCE | {"alive": False, "error": "no such folder"}
    watched.look(sources=[down])
    [said] = watched.look(after=300, sources=[down, SOURCE | {"name": "stdin", "alive": False, "finished": True}])
    assert "no such folder" in said


def test_what_it_says_becomes_an_incident(watched: Watched) -> None:
    """Rows through the engine with the shipped rules: an incident of the layer `headwater`, about the sink."""
    watched.now += 1000
    watched.check.look(HEALTHY | {"receivers": receiver(400)}, watched.now, START)
    engine = Engine(load.load(parsers.vocabulary()), cluster="lab")
    engine.feed(watched.check.poll(1 << 20, watched.now))
    [incident] = engine.incidents()
    assert (incident.signature, incident.layer, incident.group) == (
        "headwater-sink-down",
        "headwater",
        {"headwater.subject": "chat"},
    )
    assert "no delivery for 6m40s" in incident.summary
