"""Lines that no rule looks for are read now and then: a format that changes as a whole is noticed."""

import pytest

from pipeline import parsers
from pipeline.engine.engine import Engine
from pipeline.model.stream import RawBatch, Stream
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet

QUERY = '[INFO] 10.0.0.9:4711 - 7 "A IN cart.shop. udp 41 false 1232" NOERROR qr,aa,rd 80 0.0001s'
STREAM = Stream("n1/coredns", "cri", "coredns", node="n1")


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """The packaged signatures."""
    return load.load(parsers.vocabulary())


def counted(ruleset: RuleSet, *texts: str) -> tuple[int, int]:
    """The lines of CoreDNS looked at, and those not understood, after 40 batches of each text."""
    engine = Engine(ruleset)
    for number, text in enumerate(text for text in texts for _ in range(40)):
        lines = "".join(f"2026-03-01T10:00:{number % 60:02d}.{at:06d}Z stdout F {text}\n" for at in range(5))
        engine.feed([RawBatch(STREAM, lines.encode(), number)])
    return engine.state.counts["sampled", "coredns"], engine.state.counts["unknown", "coredns"]


def test_everyday_lines_are_understood(ruleset: RuleSet) -> None:
    """Though no rule has a text that stands in them."""
    assert counted(ruleset, QUERY) == (120, 0)


def test_a_program_that_writes_otherwise_is_noticed(ruleset: RuleSet) -> None:
    """Another plugin's JSON instead of the query log."""
    looked, unknown = counted(ruleset, QUERY, '{"remote":"10.0.0.9","name":"cart.shop.","rcode":"NOERROR"}')
    assert (looked, unknown) == (240, 120)
