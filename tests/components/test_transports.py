"""The battery for every transport there is: what the contract in `pipeline.contracts.transport` promises, tried on each.

Transports are found by walking, so a new one is tested without an edit here. One that needs more than a state folder has a
module `tests/components/transport_<name>.py` with `settings(state) -> dict`, and `durable = False` where nothing outlives it.
"""

import importlib.util
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from pipeline import contracts
from pipeline.contracts import Context
from pipeline.contracts.transport import Transport
from pipeline.errors import TransportError
from pipeline.model.stream import RawBatch, Stream

STREAMS = (
    Stream("nodes/a/kmsg", "kmsg", "kernel", node="a", boot_time=datetime(2026, 11, 23, 3, 29, 1, 123456, tzinfo=UTC)),
    Stream("pods/ü\n", cluster="c", namespace="n", pod="p"),
)
NOW = 1_795_000_000.0
Make = Callable[[Path], Transport]


def setup(name: str) -> ModuleType | None:
    """What a transport needs besides a folder."""
    path = Path(__file__).with_name(f"transport_{name}.py")
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def maker(name: str) -> Make:
    module, special = contracts.find("transports", name), setup(name)

    def make(state: Path) -> Transport:
        settings = special.settings(state) if special else {}
        return module.create(module.Settings(**settings), Context("cluster", state, "log"))

    return make


NAMES = contracts.names("transports")
DURABLE = [name for name in NAMES if getattr(setup(name), "durable", True)]


@pytest.fixture(params=NAMES)
def make(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


@pytest.fixture(params=DURABLE)
def make_durable(request: pytest.FixtureRequest) -> Make:
    return maker(request.param)


def batch(text: str, offset: int = 0, stream: Stream = STREAMS[0]) -> RawBatch:
    return RawBatch(stream, f"{text}\n".encode(), offset)


def drain(transport: Transport, position: Any = None, budget: int = 100) -> list[RawBatch]:
    """All there is behind a position."""
    position = position or transport.begin()
    found: list[RawBatch] = []
    while (read := transport.read(position, budget)).batches:
        found += read.batches
        position = read.position
    assert read.position == transport.end()
    return found


def assert_equal(found: list[RawBatch], expected: list[RawBatch]) -> None:
    """The same streams, bytes and offsets, in the same order within each stream."""
    for stream in {b.stream.id for b in [*found, *expected]}:
        ours, theirs = ([b for b in batches if b.stream.id == stream] for batches in (found, expected))
        assert [replace(b, offsets=None) for b in ours] == [replace(b, offsets=None) for b in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert (one.offsets is None) == (other.offsets is None)
            if one.offsets is not None and other.offsets is not None:
                assert_series_equal(one.offsets, other.offsets, check_names=False)


def test_rows_come_back_as_they_were_given(make: Make, tmp_path: Path) -> None:
    """Stream, bytes and offsets, with and without a newline at the end, of any bytes."""
    batches = [
        RawBatch(STREAMS[0], b"one\ntwo\n", 2**40),
        RawBatch(STREAMS[0], b"three\nfour", offsets=pl.Series([7, 2**63], dtype=pl.UInt64)),
        RawBatch(STREAMS[0], b"", offsets=pl.Series([], dtype=pl.Int64)),
        RawBatch(STREAMS[1], bytes(range(256)), 1),
    ]
    with closing(make(tmp_path)) as transport:
        assert transport.read(transport.begin(), 100).batches == []
        end = transport.append(batches, NOW)
        assert end == transport.end()
        assert_equal(drain(transport), batches)
        assert transport.append([], NOW) == end


def test_a_read_keeps_to_its_budget_but_always_goes_on(make: Make, tmp_path: Path) -> None:
    """A batch larger than the budget is given alone; small ones about as many as fit."""
    batches = [batch("x" * 1000, number) for number in range(20)]
    with closing(make(tmp_path)) as transport:
        transport.append(batches, NOW)
        assert len(transport.read(transport.begin(), 1).batches) == 1
        assert 2 <= len(transport.read(transport.begin(), 5000).batches) <= 5
        assert_equal(drain(transport, budget=3000), batches)


def test_readers_do_not_disturb_each_other(make: Make, tmp_path: Path) -> None:
    """Each keeps its own position; who never kept one has none."""
    with closing(make(tmp_path)) as transport:
        middle = transport.append([batch("one")], NOW)
        transport.append([batch("two", 4)], NOW)
        transport.commit("match", middle)
        transport.commit("backtest", transport.begin())
        assert transport.committed("match") == middle
        assert_equal(drain(transport, transport.committed("match")), [batch("two", 4)])
        assert_equal(drain(transport, transport.committed("backtest")), [batch("one"), batch("two", 4)])
        assert transport.committed("nobody") is None


def test_what_was_appended_and_committed_survives(make_durable: Make, tmp_path: Path) -> None:
    """Another process, which was not given the time to close, would find the same."""
    first = make_durable(tmp_path)
    middle = first.append([batch("one")], NOW)
    first.commit("reader", middle)
    end = first.append([batch("two", 4)], NOW)
    with closing(make_durable(tmp_path)) as second:
        assert second.committed("reader") == middle
        assert second.end() == end
        assert_equal(drain(second, middle), [batch("two", 4)])
        assert not second.troubles()
    first.close()
    first.close()


def test_retention_by_size_and_age_drops_the_oldest(make: Make, tmp_path: Path) -> None:
    """What stays is the newest; a reader that waited is taken to it and told what it missed."""
    batches = [batch(f"{number:0500}", number * 501) for number in range(40)]
    with closing(make(tmp_path)) as transport:
        begin = transport.begin()
        for number, one in enumerate(batches):
            transport.append([one], NOW + number)
        assert transport.retain(NOW + 40, age=None, size=None) == 0
        dropped = transport.retain(NOW + 40, age=None, size=9000)
        assert dropped > 0
        assert transport.status().size <= 9000 + 4096
        kept = drain(transport, begin)
        assert_equal(kept, batches[-len(kept) :])
        gaps = transport.troubles()
        assert [trouble.kind for trouble in gaps] == ["gap"]
        assert gaps[0].amount > 0
        transport.retain(NOW + 40, age=5, size=None)
        younger = drain(transport)
        assert 5 <= len(younger) < len(kept)
        transport.retain(NOW + 1000, age=5, size=None)
        assert not transport.read(transport.begin(), 100).batches
        transport.append([batch("again")], NOW + 1001)
        assert_equal(drain(transport), [batch("again")])


def test_a_foreign_position_is_refused(make: Make, tmp_path: Path) -> None:
    """With an error of ours that says what to do."""
    with closing(make(tmp_path)) as transport, pytest.raises(TransportError, match="begin anew"):
        transport.read({"partition": 3}, 100)


def test_status_tells_size_and_age(make: Make, tmp_path: Path) -> None:
    with closing(make(tmp_path)) as transport:
        assert transport.status().oldest is None
        transport.append([batch("one")], NOW)
        transport.append([batch("two")], NOW + 60)
        status = transport.status()
        assert status.writable
        assert status.size > 0
        assert status.oldest == 60


RAW = st.builds(
    RawBatch,
    st.sampled_from(STREAMS),
    st.binary(max_size=600),
    st.integers(0, 2**60),
    st.none() | st.lists(st.integers(0, 2**63), max_size=5).map(lambda values: pl.Series(values, dtype=pl.UInt64)),
)
STEP = st.one_of(
    st.lists(RAW, min_size=1, max_size=4),
    st.tuples(st.sampled_from(["read", "commit"]), st.sampled_from(["a", "b"]), st.integers(1, 3000)),
    st.sampled_from(["reopen", "compress"]),
)


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.lists(STEP, max_size=30))
def test_the_log_equals_a_list(name: str, steps: list[Any]) -> None:
    """Whatever is appended, read, committed, reopened and compressed in whatever order: each reader reads what a list would give."""
    with TemporaryDirectory() as folder:
        run(maker(name), Path(folder), steps)


def run(make: Make, folder: Path, steps: list[Any]) -> None:
    transport = make(folder)
    durable = hasattr(transport, "compress")
    expected: list[RawBatch] = []
    given_: dict[str, list[RawBatch]] = {"a": [], "b": []}
    places = dict.fromkeys("ab", transport.begin())
    for step in steps:
        if isinstance(step, list):
            transport.append(step, NOW)
            expected += step
        elif step == "reopen" and durable:
            transport = make(folder)
        elif step == "compress" and durable:
            transport.compress()  # type: ignore[attr-defined]
        elif isinstance(step, tuple):
            kind, reader, budget = step
            read = transport.read(places[reader], budget)
            given_[reader] += read.batches
            places[reader] = read.position
            if kind == "commit":
                transport.commit(reader, read.position)
                assert transport.committed(reader) == read.position
    for reader, found in given_.items():
        assert_equal([*found, *drain(transport, places[reader])], expected)
    assert not transport.troubles()
    transport.close()
