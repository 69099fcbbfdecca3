"""Rows of several streams, roughly in order of time."""

from pipeline.model.stream import RawBatch, Stream
from pipeline.runtime import order
from pipeline.runtime.order import Order

A, B = Stream("a", "cri"), Stream("b", "cri")


def batch(stream: Stream, *minutes: int, offset: int = 0) -> RawBatch:
    """A line for each minute after ten."""
    return RawBatch(stream, b"".join(b"2026-11-23T10:%02d:00Z stdout F x\n" % minute for minute in minutes), offset)


def minutes(batches: list[RawBatch], stream: Stream) -> list[int]:
    lines = b"".join(found.data for found in batches if found.stream == stream).splitlines()
    return [int(line[14:16]) for line in lines]


def test_without_a_backlog_everything_passes_as_it_comes() -> None:
    """Whatever the times, and nothing is looked at."""
    given = [batch(A, 1), batch(B, 50), RawBatch(A, b"no time\n")]
    assert Order().take(given, more=False) == given


def test_what_runs_ahead_waits_for_the_slower() -> None:
    """Rows up to the time that the slowest stream has reached go on; the others follow when it has, each once and in order."""
    waiting = Order()
    first = waiting.take([batch(A, 1, 2, 3), batch(B, 1, 30, 50)], more=True)
    assert (minutes(first, A), minutes(first, B)) == ([1, 2, 3], [1])
    second = waiting.take([batch(A, 20, 40, offset=100)], more=True)
    assert (minutes(second, A), minutes(second, B)) == ([20, 40], [30])
    last = waiting.take([], more=False)
    assert minutes(last, B) == [50]
    assert waiting.held == []


def test_offsets_stay_those_of_the_stream() -> None:
    """A held part begins where it stood."""
    waiting = Order()
    whole = batch(B, 1, 30, offset=7)
    first = waiting.take([batch(A, 1), whole], more=True)
    rest = waiting.take([], more=False)
    parts = [found for found in (*first, *rest) if found.stream == B]
    assert [(part.offset, len(part.data)) for part in parts] == [
        (7, len(whole.data) // 2),
        (7 + len(whole.data) // 2, len(whole.data) // 2),
    ]


def test_rows_without_times_never_wait() -> None:
    """Nothing says where they belong."""
    given = RawBatch(B, b"no time\n")
    assert given in Order().take([batch(A, 1), given], more=True)


def test_no_more_is_held_than_may_be() -> None:
    """Beyond the bound the oldest go on early, and are counted."""
    waiting = Order()
    many = b"2026-11-23T10:50:00Z stdout F x\n" * (order.HELD // 32 + 1)
    taken = waiting.take([batch(A, 1), RawBatch(B, many)], more=True)
    assert sum(len(found.data) for found in taken if found.stream == B) == len(many)
    assert waiting.released == len(many)
