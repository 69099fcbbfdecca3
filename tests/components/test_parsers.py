"""The battery for every format and envelope there is: what the contract in `pipeline.parsers` promises, tried on each.

Parsers are found by walking, so a new one is tested without an edit here. It needs a folder `tests/parsers/<name>/` with

* `sample.log`: real lines, one record a line; lines that begin with `# ` are notes (which program, which version). For
  an envelope a line that begins with a space belongs to the record above it, as in /dev/kmsg.
* `expected.jsonl`: one row a line with the columns that are not null; a row not understood is `{"source": null}` or, for
  an envelope, has no `message`. Written by running the tests with HEADWATER_UPDATE_EXPECTED=1, then read by a human.
"""

import itertools
import json
import os
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parsers
from pipeline.model import columns
from pipeline.parsers import Cheap, Context, Envelope, Format, cheap, text

SAMPLES = Path(__file__).resolve().parent.parent / "parsers"
CONTEXT = Context(boot_time=datetime(2026, 11, 23, 3, 29, 1, 123456, tzinfo=UTC), now=datetime(2026, 11, 23, 5, 0, tzinfo=UTC))
HEADER = "2026-11-23T04:39:01.041577Z stdout F "
TIME = r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
ZONES = {"Z": 0, "+02:00": 2, "-07:00": -7, "+00:00": 0}
ERRNO = (
    ("Connection timed out", "Operation timed out"),
    ("No route to host", "Host is unreachable"),
    ("Name or service not known", "Name does not resolve"),
    ("Temporary failure in name resolution", "Try again"),
    ("Address not available", "Cannot assign requested address"),
    ("Too many open files", "No file descriptors available"),
)
"""What glibc and musl call the same error."""

Parser = Format | Envelope
FORMATS = list(parsers.all_formats().values())
PARSERS: list[Parser] = [*FORMATS, *parsers.all_envelopes().values()]
CHEAP = [(fmt, name, face) for fmt in FORMATS for name, face in fmt.cheap.items()]

every = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: f"{type(parser).__name__.lower()}-{parser.name}")
every_format = pytest.mark.parametrize("parser", FORMATS, ids=lambda fmt: fmt.name)
every_cheap = pytest.mark.parametrize(("fmt", "name", "face"), CHEAP, ids=[f"{f.name}-{n}" for f, n, _ in CHEAP])


def sample(parser: Parser) -> tuple[str, ...]:
    """The records of the parser's sample file, notes left out."""
    return _sample(parser.name, glued=isinstance(parser, Envelope))


@cache
def _sample(name: str, *, glued: bool) -> tuple[str, ...]:
    path = SAMPLES / name / "sample.log"
    assert path.is_file(), f"parser {name} has no {path.relative_to(SAMPLES.parent.parent)}"
    records: list[str] = []
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        if glued and line.startswith(" ") and records:
            records[-1] += "\n" + line
        elif not line.startswith("# "):
            records.append(line)
    return tuple(records)


def run(parser: Parser, records: list[str] | tuple[str, ...]) -> pl.DataFrame:
    """What the parser makes of the records."""
    given_text = pl.Series(list(records), dtype=pl.String)
    if isinstance(parser, Envelope):
        return parser.unwrap(given_text.to_frame("record"), CONTEXT)
    nothing = [pl.lit(None, pl.String).alias("log.iostream"), pl.lit(None, columns.TIME).alias("@timestamp")]
    return parser.parse(given_text.to_frame("message").with_columns(nothing), CONTEXT)


def schema(parser: Parser) -> dict[str, pl.DataType]:
    """The columns that the contract demands, in order."""
    return columns.UNWRAPPED if isinstance(parser, Envelope) else {**columns.PARSED, **parser.columns}


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON would hold them, without nulls."""

    def plain(value: Any) -> Any:
        return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value

    return [{name: plain(value) for name, value in row.items() if value is not None} for row in frame.to_dicts()]


def stored(parser: Parser, found: list[dict[str, Any]]) -> str:
    """The rows as `expected.jsonl` has them."""
    empty = {"source": None} if isinstance(parser, Format) else {}
    return "".join(json.dumps(row or empty, ensure_ascii=False) + "\n" for row in found)


def mutated(records: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Sample records with a piece cut out, doubled or replaced, or joined to the end of another."""
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(['"', " ", "\\", "\n", "-"])

    def change(record: str, at: int, length: int, piece: str, other: str) -> Iterator[str]:
        at %= len(record) + 1
        yield record[:at] + piece + record[at + length :]
        yield record[:at] + record[at : at + length] + record[at:]
        yield record[:at] + other[at:]

    parts = st.tuples(st.sampled_from(records), st.integers(0, 4000), st.integers(0, 12), anything, st.sampled_from(records))
    return st.tuples(parts, st.integers(0, 2)).map(lambda drawn: list(change(*drawn[0]))[drawn[1]])


def texts(records: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    """Batches of anything: wild text with NUL and astral characters among mutated and whole sample records."""
    wild = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
    return st.lists(wild | mutated(records) | st.sampled_from(records), max_size=8)


@every
def test_gives_exactly_the_columns_of_the_contract(parser: Parser) -> None:
    """Names, types and order are fixed, for no record as for many."""
    for records in ((), ("",), sample(parser)):
        assert list(run(parser, records).schema.items()) == list(schema(parser).items())


@every
def test_reads_its_sample_as_expected(parser: Parser) -> None:
    """Every record of the sample is read as written down, the remainder included."""
    path = SAMPLES / parser.name / "expected.jsonl"
    found = stored(parser, rows(run(parser, sample(parser))))
    if os.environ.get("HEADWATER_UPDATE_EXPECTED"):
        path.write_text(found, encoding="utf-8")
    expected = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [{name: value for name, value in row.items() if value is not None} for row in expected]
    assert rows(run(parser, sample(parser))) == kept


@every
def test_understands_most_of_its_sample(parser: Parser) -> None:
    """A sample shows what the parser can do, with few lines beyond it; every kind of row occurs."""
    frame = run(parser, sample(parser))
    key = "message" if isinstance(parser, Envelope) else "source"
    assert frame[key].null_count() <= len(frame) / 3
    if isinstance(parser, Format):
        assert set(frame["source"].drop_nulls()) == set(parser.sources)


@every
def test_reads_each_record_by_itself(parser: Parser) -> None:
    """A batch gives what its records give one by one: neighbours, bad ones too, do not matter."""
    records = [*sample(parser), "", "{", sample(parser)[0][:20]]
    single = [run(parser, [record]) for record in records]
    if isinstance(parser, Envelope):
        single = [frame.with_columns(pl.col("line") + pl.lit(i, pl.UInt32)) for i, frame in enumerate(single)]
    assert rows(run(parser, records)) == rows(pl.concat(single))


@every
@given(data=st.data())
def test_never_raises(parser: Parser, data: st.DataObject) -> None:
    """Any text is read or marked as not understood, and a format gives a row a record."""
    records = data.draw(texts(sample(parser)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = run(parser, records)
    assert list(frame.schema.items()) == list(schema(parser).items())
    frame.to_dicts()
    if isinstance(parser, Format):
        assert len(frame) == len(records)
        assert set(frame["source"].drop_nulls()) <= set(parser.sources)
    else:
        assert set(frame["line"]) <= set(range(len(records)))


@every
def test_survives_a_huge_line(parser: Parser) -> None:
    """A record of 10 MB is no reason to fail."""
    first = sample(parser)[0]
    for record in (first + "x" * 10_000_000, first * (3_000_000 // len(first))):
        run(parser, [first, record])


def retimed(record: str) -> Iterator[tuple[str, datetime]]:
    """The record with its one time in every zone and precision, and the moment that means."""
    local = datetime.fromisoformat(re.search(TIME, record).expand(r"\1T\2")).replace(tzinfo=UTC)  # type: ignore[union-attr]
    for (zone, hours), digits in itertools.product(ZONES.items(), range(10)):
        fraction = "." + "987654321"[:digits] if digits else ""
        moment = local + timedelta(hours=-hours, microseconds=int("987654321"[:digits].ljust(6, "0")[:6]))
        yield re.sub(TIME, rf"\1T\2{fraction}{zone}", record), moment


@every
def test_reads_times_in_any_zone_and_precision(parser: Parser) -> None:
    """Where a record holds one RFC 3339 time and the parser took it, every zone and fraction of 0 to 9 digits will do."""
    name = "@timestamp" if isinstance(parser, Envelope) else "event.time"
    once = [record for record in sample(parser) if len(re.findall(r"\d\d:\d\d:\d\d", record)) == 1]
    for record in [record for record in once if re.search(TIME, record)]:
        if run(parser, [record])[name].is_null().all():
            continue
        changed, moments = zip(*retimed(record), strict=True)
        found = run(parser, changed)
        lines = found["line"] if isinstance(parser, Envelope) else pl.Series(range(len(changed)))
        assert dict(zip(lines, found[name], strict=True)) == dict(enumerate(moments)), record


@every
def test_knows_the_errors_of_both_libraries(parser: Parser) -> None:
    """A line with glibc's words is read as the same line with musl's, and the other way round."""
    for word, other in (*ERRNO, *(words[::-1] for words in ERRNO)):
        for record in [record for record in sample(parser) if word in record]:
            plain = json.dumps(rows(run(parser, [record])), ensure_ascii=False).replace(word, other)
            assert rows(run(parser, [record.replace(word, other)])) == json.loads(plain)


@every_format
def test_verbatim_columns_stand_in_the_text(parser: Format) -> None:
    """A value of a column declared verbatim occurs letter by letter in the line."""
    assert {schema(parser)[name] for name in parser.verbatim} <= {pl.String()}
    for record, row in zip(sample(parser), run(parser, sample(parser)).to_dicts(), strict=True):
        assert [name for name in parser.verbatim if row[name] is not None and row[name] not in record] == [], record


@every
def test_patterns_are_valid(parser: Parser) -> None:
    """Every pattern a parser declares compiles in Polars' regex."""
    patterns: list[str] = [parser.sniff] if parser.sniff else []
    if isinstance(parser, Format):
        patterns += [*parser.containers, *parser.images, *parser.apps, *parser.processes]
        patterns += [face.valid for face in parser.cheap.values()]
    for pattern in patterns:
        pl.Series([""]).str.contains(pattern, strict=True)


@every
def test_sniffing_finds_the_parser(parser: Parser) -> None:
    """Of all parsers of its kind whose sniffing knows most of the sample, the parser itself has the highest priority."""
    if parser.sniff is None:
        pytest.skip("is never sniffed")
    lines = pl.Series(sample(parser))
    known = [other for other in PARSERS if type(other) is type(parser) and other.sniff]
    claiming = [other for other in known if lines.str.contains(other.sniff or "").sum() > len(lines) / 2]
    best = max(other.priority for other in claiming)
    assert [other.name for other in claiming if other.priority == best] == [parser.name]


def test_formats_agree_on_types() -> None:
    """A column that two formats declare has one type, and an overridden common column keeps the common type."""
    union = parsers.columns()
    assert {name: union[name] for name in columns.COMMON if name in union}.items() <= columns.COMMON.items()


def cut(fmt: Format, name: str, lines: list[str]) -> pl.Series:
    """The cheap column of lines: cut, finished, tested, cast; null where the test fails."""
    cuts = cheap.cut(pl.DataFrame({"record": pl.Series(lines, dtype=pl.String)}), fmt.cheap, fmt.pieces, [name])
    assert cuts.schema[name] == pl.String()
    return cuts.select(cheap.tested(fmt.cheap, [name])).to_series()


def full(fmt: Format, name: str, face: Cheap, lines: list[str]) -> tuple[pl.Series, pl.Series]:
    """The column of the full parse, and which rows are of the cheap column's kind; of a list the last element counts."""
    frame = run(fmt, lines)
    column = frame[name].list.last() if frame[name].dtype == pl.List else frame[name]
    return column, frame["source"].eq_missing(pl.Series([face.source]))


def agree(fmt: Format, name: str, face: Cheap, lines: list[str]) -> None:
    """Assert that both faces give the same, with and without a CRI header."""
    column, of_kind = full(fmt, name, face, lines)
    for header in ("", HEADER):
        fast = cut(fmt, name, [header + line for line in lines])
        differing = of_kind & fast.ne_missing(column)
        assert list(zip(*(part.filter(differing) for part in (pl.Series(lines), fast, column)), strict=True)) == []


@every_cheap
def test_cheap_columns_equal_the_full_parse(fmt: Format, name: str, face: Cheap) -> None:
    """On every line of the kind, the slice is what the full parse reads, and it occurs in the sample."""
    column, of_kind = full(fmt, name, face, list(sample(fmt)))
    assert column.filter(of_kind).drop_nulls().len() > 0
    agree(fmt, name, face, list(sample(fmt)))


@every_cheap
@given(data=st.data())
def test_cheap_columns_equal_the_full_parse_on_broken_lines(fmt: Format, name: str, face: Cheap, data: st.DataObject) -> None:
    """The same for damaged lines, as long as the full parse still takes them for the kind."""
    kind = full(fmt, name, face, list(sample(fmt)))[1]
    own = tuple(pl.Series(sample(fmt)).filter(kind))
    agree(fmt, name, face, data.draw(st.lists(mutated(own), min_size=1, max_size=8)))


@every_cheap
def test_cheap_columns_refuse_other_lines(fmt: Format, name: str, face: Cheap) -> None:
    """A line of another kind or format yields a slice that fails the test, so it is never counted."""
    for other in [other for other in FORMATS if (SAMPLES / other.name).is_dir()]:
        lines = list(sample(other))
        foreign = ~full(fmt, name, face, lines)[1]
        for header in ("", HEADER):
            fast = cut(fmt, name, [header + line for line in lines])
            assert pl.Series(lines).filter(foreign & fast.is_not_null()).to_list() == [], other.name


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("digits", range(10))
def test_timestamp_reads_any_zone_and_precision(zone: str, digits: int) -> None:
    """RFC 3339 to the microsecond, whatever follows the second; what lies below it is cut off."""
    fraction = "." + "987654321"[:digits] if digits else ""
    found = pl.select(text.timestamp(pl.lit(f"2026-11-23T04:39:01{fraction}{zone}"))).item()
    micros = int("987654321"[:digits].ljust(6, "0")[:6])
    assert found == datetime(2026, 11, 23, 4, 39, 1, micros, tzinfo=UTC) - timedelta(hours=ZONES[zone])


@pytest.mark.parametrize(
    "number",
    ["1772359503.214577", "1772359503214.577", "1772359503214577", "1772359503214577123", "1.772359503214577e9"],
)
def test_epoch_goes_by_magnitude(number: str) -> None:
    """Seconds, milli-, micro- and nanoseconds since 1970 are told apart by their size."""
    assert pl.select(text.epoch(pl.lit(number))).item() == datetime(2026, 3, 1, 10, 5, 3, 214577, tzinfo=UTC)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["1e300", "-1", "nan", "+99999-01-01T00:00:00Z"]))
def test_text_helpers_never_raise(anything: str) -> None:
    """Times, levels and durations of nonsense are null or within what Python can hold."""
    value, now = pl.lit(anything), CONTEXT.now
    helpers = (text.timestamp, text.epoch, text.instant, text.level, text.duration)
    pl.select(text.yearless(value, "%m%d %H:%M:%S%.f", now), *(h(value).alias(h.__name__) for h in helpers)).rows()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_unescape_undoes_json(anything: str) -> None:
    """What JSON escaped comes back, with or without its characters beyond ASCII written as they are."""
    for ascii_only in (True, False):
        escaped = json.dumps(anything, ensure_ascii=ascii_only)[1:-1]
        assert text.unescape(pl.Series([escaped])).item() == re.sub("[\ud800-\udfff]", "\ufffd", anything)
