"""The battery for every source there is: what the contract in `pipeline.contracts.source` promises, tried on each.

Sources are found by walking, so a new one is tested without an edit here. It has a module `tests/components/source_<name>.py`
with a class `Outside(folder)`, the system that it reads:

    write(lines)      say something (texts without line breaks); what a recording holds is written before it is opened
    open()            a new source on it, as another process would make it
    text(record)      the text in a record as the source gives it
    grows             whether it may say something after it was opened
"""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from pipeline import contracts
from pipeline.contracts.source import Source
from pipeline.errors import SourceError
from pipeline.model.stream import RawBatch

Record = tuple[str, int, bytes]


class Outside(Protocol):
    grows: bool

    def __init__(self, folder: Path) -> None: ...
    def write(self, lines: Sequence[str]) -> None: ...
    def open(self) -> Source: ...
    def text(self, record: bytes) -> str: ...
    def close(self) -> None: ...


class Clock:
    """Time that passes with every poll."""

    def __init__(self) -> None:
        self.now = 1000.0

    def poll(self, source: Source, budget: int = 1 << 20) -> list[RawBatch]:
        self.now += 5
        return list(source.poll(budget, self.now))

    def drain(self, source: Source, budget: int = 1 << 20) -> list[Record]:
        """All records that there are now: polled until several polls in a row bring nothing."""
        found: list[Record] = []
        quiet = 0
        while quiet < 3:
            batches = self.poll(source, budget)
            quiet = 0 if batches else quiet + 1
            found += records(batches)
        return found


def records(batches: Sequence[RawBatch]) -> list[Record]:
    """Each record with the name that the engine gives it: stream and offset."""
    found: list[Record] = []
    for batch in batches:
        assert batch.data
        lines = batch.data.splitlines(keepends=True)
        offsets = [batch.offset]
        if batch.offsets is not None:
            offsets = batch.offsets.to_list()
            assert len(offsets) == len(lines)
        else:
            for line in lines[:-1]:
                offsets.append(offsets[-1] + len(line))
        found += [(batch.stream.id, offset, line) for offset, line in zip(offsets, lines, strict=True)]
    return found


@pytest.fixture(params=contracts.names("sources"))
def outside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outside]:
    path = Path(__file__).with_name(f"source_{request.param}.py")
    assert path.exists(), f"source {request.param} has no {path.name}; see the docstring of this module"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.Outside(tmp_path)
    with closing(made):
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


LINES = [f"line {number}" for number in range(150)]


def texts(outside: Outside, found: Sequence[Record]) -> list[str]:
    return [outside.text(record) for _, _, record in found]


def test_every_line_comes_once_in_order(outside: Outside, clock: Clock) -> None:
    """And each has a name of its own."""
    outside.write(LINES)
    with closing(outside.open()) as source:
        found = clock.drain(source)
        assert texts(outside, found) == LINES
        assert len({(stream, offset) for stream, offset, _ in found}) == len(found)
        assert all(before[1] < after[1] for before, after in pairwise(found) if before[0] == after[0])
        assert not source.troubles()
        assert source.status().alive is not source.finished()


def test_nothing_new_is_an_empty_list(outside: Outside, clock: Clock) -> None:
    """However often it is asked; and what comes then is given."""
    if outside.grows:
        with closing(outside.open()) as source:
            assert clock.poll(source) == clock.poll(source) == []
            outside.write(LINES[:2])
            assert texts(outside, clock.drain(source)) == LINES[:2]
            assert clock.poll(source) == []
            outside.write(LINES[2:3])
            assert texts(outside, clock.drain(source)) == LINES[2:3]
            assert not source.finished()


def test_a_poll_keeps_to_its_budget(outside: Outside, clock: Clock) -> None:
    """About: no poll gives many times what was asked for, and together they give all."""
    outside.write([f"{line} {'x' * 2000}" for line in LINES])
    with closing(outside.open()) as source:
        first = clock.poll(source, 20_000)
        assert sum(len(batch.data) for batch in first) < 300_000
        assert len(records(first) + clock.drain(source, 20_000)) == len(LINES)


def test_a_look_gives_nothing_and_loses_nothing(outside: Outside, clock: Clock) -> None:
    """A budget of 0: what comes then lies behind the position."""
    outside.write(LINES)
    with closing(outside.open()) as source:
        assert clock.poll(source, 0) == []
        assert texts(outside, clock.drain(source)) == LINES


def test_it_says_whether_there_is_more_at_once(outside: Outside, clock: Clock) -> None:
    """Whoever asks until there is no more has all there is."""
    outside.write(LINES)
    with closing(outside.open()) as source:
        if not source.live:
            return
        found = records(clock.poll(source, 500))
        while source.more():
            found += records(clock.poll(source, 500))
        assert texts(outside, found) == LINES


@pytest.mark.parametrize("cut", [0, 1, 70])
def test_a_new_process_goes_on_where_the_old_one_was(outside: Outside, clock: Clock, cut: int) -> None:
    """A position is what JSON holds; nothing is lost, nothing comes twice, and the names stay."""
    if outside.grows:
        with closing(outside.open()) as source:
            clock.poll(source)
            outside.write(LINES[:cut])
            before = clock.drain(source)
            position = json.loads(json.dumps(source.position()))
            source.commit(position)
    else:
        outside.write(LINES)
        cut, position, before = 0, {}, []
        with closing(outside.open()) as source:
            position = json.loads(json.dumps(source.position()))
    with closing(outside.open()) as source:
        source.seek(position)
        assert source.position() == position or not source.rereadable
        if outside.grows:
            outside.write(LINES[cut:])
        after = clock.drain(source)
        assert texts(outside, before + after) == LINES
        assert not source.troubles()
        if not source.rereadable:
            return
        source.seek(position)
        assert clock.drain(source) == after


def test_every_position_on_the_way_is_one_to_go_on_from(outside: Outside, clock: Clock) -> None:
    """What is rereadable gives the same records with the same names again."""
    outside.write(LINES)
    with closing(outside.open()) as source:
        if not source.rereadable:
            return
        before = records(clock.poll(source, 500))
        position = json.loads(json.dumps(source.position()))
        after = clock.drain(source)
    with closing(outside.open()) as other:
        other.seek(position)
        assert clock.drain(other) == after
        assert texts(outside, before + after) == LINES


@pytest.mark.parametrize("position", [{}, {"version": 99, "files": 3}, {"topic": "x"}])
def test_a_foreign_position_is_refused(outside: Outside, position: dict[str, Any]) -> None:
    """With an error of ours that says what to do."""
    outside.write(LINES[:1])
    with closing(outside.open()) as source, pytest.raises(SourceError, match="begin anew"):
        source.seek(position)


def test_it_may_be_closed_at_any_time_and_twice(outside: Outside, clock: Clock) -> None:
    outside.write(LINES)
    source = outside.open()
    source.close()
    source = outside.open()
    clock.poll(source)
    source.close()
    source.close()
