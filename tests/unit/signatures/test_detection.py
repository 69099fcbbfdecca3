"""Detections: what every modifier matches and what it leaves, on real columns; and what is refused."""

from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parsers
from pipeline.signatures import detection
from pipeline.signatures.detection import All, DetectionError, Not, Some, Test, compile_detection, to_expr

SCHEMA: dict[str, pl.DataType] = {
    "message": pl.String(),
    "text": pl.String(),
    "other": pl.String(),
    "number": pl.Int64(),
    "part": pl.Float64(),
    "flag": pl.Boolean(),
    "many": pl.List(pl.String()),
    "more": pl.List(pl.String()),
    "codes": pl.List(pl.Int64()),
}


def matches(searches: dict[str, Any], rows: list[dict[str, Any]]) -> list[bool]:
    """Which rows a detection matches; columns that a row lacks are null."""
    tree = compile_detection({"condition": "1 of them", **searches})
    frame = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
    return frame.with_columns(hit=to_expr(tree, SCHEMA))["hit"].to_list()


def hits(test: dict[str, Any], values: list[Any], column: str = "text") -> list[Any]:
    """Those of the column's values that a selection matches."""
    found = matches({"s": test}, [{column: value} for value in values])
    return [value for value, hit in zip(values, found, strict=True) if hit]


def refusal(searches: dict[str, Any]) -> DetectionError:
    with pytest.raises(DetectionError) as caught:
        compile_detection({"condition": "1 of them", **searches})
    return caught.value


TEXTS = ["timed out", "Timed Out", "upstream timed out (110)", "timed", "out", "", None]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"text": "timed out"}, ["timed out", "Timed Out"]),
        ({"text|cased": "timed out"}, ["timed out"]),
        ({"text|contains": "TIMED OUT"}, ["timed out", "Timed Out", "upstream timed out (110)"]),
        ({"text|contains|cased": "Timed Out"}, ["Timed Out"]),
        ({"text|startswith": "TIMED"}, ["timed out", "Timed Out", "timed"]),
        ({"text|startswith|cased": "Timed"}, ["Timed Out"]),
        ({"text|endswith": "OUT"}, ["timed out", "Timed Out", "out"]),
        ({"text|endswith|cased": "Out"}, ["Timed Out"]),
        ({"text|re": "^timed (out|up)$"}, ["timed out"]),
        ({"text|re": "imed"}, ["timed out", "Timed Out", "upstream timed out (110)", "timed"]),
        ({"text|re|i": "^TIMED"}, ["timed out", "Timed Out", "timed"]),
        ({"text|re|ignorecase": "^TIMED"}, ["timed out", "Timed Out", "timed"]),
        ({"text": ["timed", "out"]}, ["timed", "out"]),
        ({"text|contains": ["110", "out"]}, ["timed out", "Timed Out", "upstream timed out (110)", "out"]),
        ({"text|contains|all": ["110", "out"]}, ["upstream timed out (110)"]),
        ({"text|all|contains": ["110", "out"]}, ["upstream timed out (110)"]),
        ({"text|re|all": ["imed", "^t"]}, ["timed out", "timed"]),
        ({"text|neq": "timed"}, ["timed out", "Timed Out", "upstream timed out (110)", "out", "", None]),
        ({"text|neq": ["timed", "out"]}, ["timed out", "Timed Out", "upstream timed out (110)", "", None]),
        ({"text|contains|neq": "out"}, ["timed", "", None]),
        ({"text|contains|all|neq": ["timed", "out"]}, ["timed", "out", "", None]),
        ({"text": ""}, [""]),
        ({"text": None}, [None]),
        ({"text|neq": ""}, ["timed out", "Timed Out", "upstream timed out (110)", "timed", "out", None]),
        ({"text|neq": None}, ["timed out", "Timed Out", "upstream timed out (110)", "timed", "out", ""]),
        ({"text|exists": True}, ["timed out", "Timed Out", "upstream timed out (110)", "timed", "out", ""]),
        ({"text|exists": False}, [None]),
        ({"text|contains": ""}, ["timed out", "Timed Out", "upstream timed out (110)", "timed", "out", ""]),
    ],
)
def test_text_modifiers(test: dict[str, Any], expected: list[str | None]) -> None:
    """Case is ignored except by `re` and `cased`; a missing field is matched by null alone, an empty text by '' alone."""
    assert hits(test, TEXTS) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a*c", ["abc", "a*c", "ac", "a\nc", "a\\c", "A-C"]),
        ("a?c", ["abc", "a*c", "a\nc", "a\\c", "A-C"]),
        (r"a\*c", ["a*c"]),
        (r"a\\c", ["a\\c"]),
        (r"a\\*", ["a\\c"]),
        (r"a\c", ["a\\c"]),
        ("*", ["abc", "a*c", "ac", "a\nc", "a\\c", "A-C", "x.y", ""]),
        ("?*", ["abc", "a*c", "ac", "a\nc", "a\\c", "A-C", "x.y"]),
        ("x.y", ["x.y"]),
        ("a.c", []),
    ],
)
def test_wildcards_and_escapes(value: str, expected: list[str]) -> None:
    """`*` is any run and `?` one character, line ends among them; a backslash escapes these and itself, else it is one."""
    assert hits({"text": value}, ["abc", "a*c", "ac", "a\nc", "a\\c", "A-C", "x.y", ""]) == expected


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"text|contains": "b*d"}, ["abcde", "bd"]),
        ({"text|startswith": "b?"}, ["bd"]),
        ({"text|endswith": "*e"}, ["abcde"]),
        ({"text|contains": r"\*"}, ["*"]),
    ],
)
def test_wildcards_within_other_modifiers(test: dict[str, Any], expected: list[str]) -> None:
    assert hits(test, ["abcde", "bd", "b", "*"]) == expected


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"text|re": "a.c"}, ["abc"]),
        ({"text|re|s": "a.c"}, ["abc", "a\nc"]),
        ({"text|re|dotall": "a.c"}, ["abc", "a\nc"]),
        ({"text|re": "^c$"}, []),
        ({"text|re|m": "^c$"}, ["a\nc"]),
        ({"text|re|multiline": "^c$"}, ["a\nc"]),
        ({"text|re|i|s": "A.C"}, ["abc", "a\nc"]),
        ({"text|re": r"a\*"}, []),
    ],
)
def test_regex_flags(test: dict[str, Any], expected: list[str]) -> None:
    """`i`, `m` and `s`, by the short and the long name; wildcards of Sigma mean nothing in a regex."""
    assert hits(test, ["abc", "a\nc"]) == expected


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"number": 499}, [499]),
        ({"number": "499"}, [499]),
        ({"number": "5*"}, [500, 503]),
        ({"number|neq": 499}, [0, 500, 503, -1, None]),
        ({"number|lt": 500}, [0, 499, -1]),
        ({"number|lte": 500}, [0, 499, 500, -1]),
        ({"number|gt": 500}, [503]),
        ({"number|gte": 500}, [500, 503]),
        ({"number|gte": 499.5}, [500, 503]),
        ({"number|gte|neq": 500}, [0, 499, -1, None]),
        ({"number": [0, 503]}, [0, 503]),
        ({"number": None}, [None]),
    ],
)
def test_numbers(test: dict[str, Any], expected: list[int | None]) -> None:
    assert hits(test, [0, 499, 500, 503, -1, None], "number") == expected


def test_numbers_in_text_and_fractions() -> None:
    """Text that is a number compares as one; text that is none never does."""
    assert hits({"text|gt": 9}, ["10", "9.5", "9", "ten", "", None]) == ["10", "9.5"]
    assert hits({"text": 10}, ["10", "10.0", None]) == ["10"]
    assert hits({"part|lte": 0.5}, [0.5, 0.25, 0.51, None], "part") == [0.5, 0.25]
    assert hits({"part": 0.5}, [0.5, 0.25, None], "part") == [0.5]


def test_truths() -> None:
    assert hits({"flag": True}, [True, False, None], "flag") == [True]
    assert hits({"flag": False}, [True, False, None], "flag") == [False]
    assert hits({"text": True}, ["true", "True", "1", None]) == ["true", "True"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.0.0.0/8", ["10.1.2.3", "10.255.255.255"]),
        ("10.1.2.3", ["10.1.2.3"]),
        ("10.1.2.3/8", ["10.1.2.3", "10.255.255.255"]),
        ("fd00::/8", ["fd00::1", "FD00:0:0::0001"]),
        ("::/0", ["fd00::1", "FD00:0:0::0001", "fe80::1", "::ffff:10.1.2.3"]),
        (["10.0.0.0/8", "fe80::/10"], ["10.1.2.3", "10.255.255.255", "fe80::1"]),
    ],
)
def test_cidr(network: str | list[str], expected: list[str]) -> None:
    """IPv4 and IPv6 in any spelling; what is no address is in no network."""
    addresses = ["10.1.2.3", "10.255.255.255", "11.0.0.1", "fd00::1", "FD00:0:0::0001", "fe80::1", "::ffff:10.1.2.3"]
    odd = ["10.1.2", "10.1.2.3:80", "node-1", "", None]
    assert hits({"text|cidr": network}, [*addresses, *odd]) == expected
    assert hits({"text|cidr": ["0.0.0.0/0", "::/0"]}, odd) == []


def test_fieldref_compares_two_columns() -> None:
    """As text and by case; missing on either side is never equal."""
    rows = [
        {"text": "z1", "other": "z1"},
        {"text": "z1", "other": "z2"},
        {"text": "z1", "other": "Z1"},
        {"text": None, "other": None},
        {"text": "z1", "other": None},
    ]
    assert matches({"s": {"text|fieldref": "other"}}, rows) == [True, False, False, False, False]
    assert matches({"s": {"text|fieldref|neq": "other"}}, rows) == [False, True, True, True, True]


def test_fieldref_between_kinds() -> None:
    rows = [{"text": "80", "number": 80}, {"text": "81", "number": 80}, {"number": 80}]
    assert matches({"s": {"text|fieldref": "number"}}, rows) == [True, False, False]


def test_fieldref_of_lists_needs_one_common_element() -> None:
    """A list that holds the other column's value, on either side; two lists that share an element."""
    rows = [
        {"many": ["a", "b"], "text": "b", "more": ["b", "c"]},
        {"many": ["a", "b"], "text": "c", "more": ["c"]},
        {"many": [], "text": "a", "more": []},
        {"many": None, "text": None, "more": None},
        {"many": [None], "text": None, "more": [None]},
    ]
    only_first = [True, False, False, False, False]
    assert matches({"s": {"many|fieldref": "text"}}, rows) == only_first
    assert matches({"s": {"text|fieldref": "many"}}, rows) == only_first
    assert matches({"s": {"many|fieldref": "more"}}, rows) == only_first


def test_fieldref_of_lists_of_other_kinds() -> None:
    """Compared as text, so that no pair of columns can fail while rows flow."""
    rows = [{"codes": [80, 81], "text": "81", "many": ["80"]}, {"codes": [80], "text": "81", "many": ["81"]}]
    assert matches({"s": {"codes|fieldref": "text"}}, rows) == [True, False]
    assert matches({"s": {"text|fieldref": "codes"}}, rows) == [True, False]
    assert matches({"s": {"codes|fieldref": "many"}}, rows) == [True, False]


KNOWN = parsers.vocabulary().all_columns()
ANYTHING = [5, 0.5, True, "x*", "", None, ["x", 5]]
MODIFIERS = ["", *(f"|{name}" for name in detection.KINDS), "|cased", "|neq", "|contains|all"]


def sample(dtype: pl.DataType) -> Any:
    """A value of a type."""
    if isinstance(dtype, pl.List):
        return [sample(dtype.inner), None]
    return pl.Series([1]).cast(dtype).item() if not isinstance(dtype, pl.String) else "10.0.0.1"


@pytest.mark.parametrize("name", {str(dtype): name for name, dtype in KNOWN.items()}.values())
def test_no_test_fails_on_any_kind_of_column(name: str) -> None:
    """What compiles can be run: on a column of every type that there is, missing and not."""
    others = ["message", *{str(dtype): name for name, dtype in KNOWN.items()}.values()]
    schema = {column: KNOWN[column] for column in (name, *others)}
    frame = pl.DataFrame([{}, {column: sample(dtype) for column, dtype in schema.items()}], schema=schema)
    for modifier, value in [*product(MODIFIERS, ANYTHING), *(("|fieldref", other) for other in others)]:
        try:
            tree = compile_detection({"s": {f"{name}{modifier}": value}, "condition": "s"})
        except DetectionError:
            continue
        assert frame.filter(to_expr(tree, schema)).width == frame.width


def test_fieldref_to_nothing_matches_nothing() -> None:
    assert matches({"s": {"text|fieldref": "absent"}}, [{"text": "a"}, {}]) == [False, False]


LISTS = [["10.0.0.1:80", "10.0.0.2:80"], ["10.0.0.2:80"], ["-", None], [], None]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"many|startswith": "10.0.0.1"}, [0]),
        ({"many": "10.0.0.2:80"}, [0, 1]),
        ({"many|re": r"\.2:\d+$"}, [0, 1]),
        ({"many|contains|all": ["0.1", "0.2"]}, [0]),
        ({"many|neq": "10.0.0.2:80"}, [2, 3, 4]),
        ({"many|exists": True}, [0, 1, 2]),
        ({"many|exists": False}, [3, 4]),
        ({"many": None}, [3, 4]),
    ],
)
def test_lists_match_by_any_element(test: dict[str, Any], expected: list[int]) -> None:
    """One element an upstream attempt; an empty list is as good as none."""
    found = matches({"s": test}, [{"many": value} for value in LISTS])
    assert [at for at, hit in enumerate(found) if hit] == expected


def test_lists_of_numbers() -> None:
    assert hits({"codes|gte": 500}, [[200, 502], [200], [], None], "codes") == [[200, 502]]
    assert hits({"codes": 200}, [[200, 502], [200], [404], None], "codes") == [[200, 502], [200]]


MESSAGES = ["connection refused by 10.0.0.1", "Connection timed out", "refused", None]


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        ({"s": "refused"}, [0, 2]),
        ({"s": ["refused", "timed out"]}, [0, 1, 2]),
        ({"s": {"|all": ["refused", "connection"]}}, [0]),
        ({"s": {"|contains": "refused"}}, [0, 2]),
        ({"s": {"|re": "^refused$"}}, [2]),
        ({"s": {"|contains|all": ["connection", "timed"]}}, [1]),
        ({"s": ["conn*10.0"]}, [0]),
        ({"s": [{"message|startswith": "conn"}, "timed"]}, [0, 1]),
    ],
)
def test_keywords_are_of_the_message(searches: dict[str, Any], expected: list[int]) -> None:
    """Text without a field is looked for in the message; a list is any of it, '|all' every one."""
    found = matches(searches, [{"message": value} for value in MESSAGES])
    assert [at for at, hit in enumerate(found) if hit] == expected


def test_number_keywords() -> None:
    assert hits({"|contains": 110}, ["(110: x)", "11", None], "message") == ["(110: x)"]


def test_maps_are_and_lists_of_maps_are_or() -> None:
    rows = [{"text": "a", "number": 1}, {"text": "a", "number": 2}, {"text": "b", "number": 1}, {}]
    assert matches({"s": {"text": "a", "number": 1}}, rows) == [True, False, False, False]
    assert matches({"s": [{"text": "a", "number": 2}, {"text": "b"}]}, rows) == [False, True, True, False]


def test_conditions_combine_searches() -> None:
    rows = [{"text": "a"}, {"text": "b"}, {}]
    assert matches({"x": {"text": "a"}, "y": {"text": "b"}, "condition": "not x and not y"}, rows) == [False, False, True]
    assert matches({"x": {"text": "a"}, "y": {"text": "b"}, "condition": ["x", "y"]}, rows) == [True, True, False]


def test_columns_that_a_frame_lacks_are_missing() -> None:
    """A source may not have a column: then only null and `exists: false` match."""
    for test, expected in (
        ({"absent": "x"}, False),
        ({"absent": None}, True),
        ({"absent|exists": False}, True),
        ({"absent|exists": True}, False),
        ({"absent|neq": "x"}, True),
        ({"absent|gte": 1}, False),
        ({"absent|cidr": "10.0.0.0/8"}, False),
    ):
        assert matches({"s": test}, [{}]) == [expected], test


@pytest.mark.parametrize("modifier", sorted(detection.REFUSED))
def test_modifiers_that_make_no_sense_here_are_refused(modifier: str) -> None:
    """Never a silent no-match: each says why."""
    error = refusal({"s": {f"text|{modifier}": "x"}})
    assert error.loc == ("s", f"text|{modifier}")
    assert error.what == f"modifier '{modifier}' is not supported"
    assert error.hint


@pytest.mark.parametrize(
    ("test", "what", "hint"),
    [
        ({"text|containz": "x"}, "unknown modifier 'containz'", "did you mean 'contains'?"),
        ({"text|": "x"}, "unknown modifier ''", ""),
        ({"text|contains|startswith": "x"}, "'contains' and 'startswith' cannot stand together", ""),
        ({"number|gte": "many"}, "'gte' compares numbers, not 'many'", ""),
        ({"number|gte": True}, "'gte' compares numbers, not True", ""),
        ({"text|exists": "yes"}, "'exists' takes true or false", ""),
        ({"text|contains": None}, "'contains' needs text", ""),
        ({"text|fieldref": None}, "'fieldref' needs text", ""),
        ({"text|cidr": "10.0.0.0/33"}, "'10.0.0.0/33' is not a network", "write it like 10.0.0.0/8"),
        ({"text|cidr": "node-1"}, "'node-1' is not a network", "write it like 10.0.0.0/8"),
        ({"text": {"nested": "x"}}, "{'nested': 'x'} is not a value", "give text, a number or a list of them"),
        ({"text": [["x"]]}, "['x'] is not a value", "give text, a number or a list of them"),
        ({"text": ["x", None]}, "null may not stand in a list", "write a selection of its own for the missing field"),
        ({"text": []}, "a list of values is expected", "write at least one, each behind a dash"),
        ({"|all": "x"}, "a list of values is expected", "write at least one, each behind a dash"),
        ({}, "an empty selection would match every row", "name at least one field"),
        ([], "a list of values is expected", "write at least one, each behind a dash"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(test: Any, what: str, hint: str) -> None:
    error = refusal({"s": test})
    assert (error.what, error.hint) == (what, hint)


def test_a_refusal_points_at_the_value() -> None:
    """At the item of a list; a key where one value stands."""
    assert refusal({"s": {"number|gte": [1, "x"]}}).loc == ("s", "number|gte", 1)
    assert refusal({"s": [{"text": "a"}, {"text|cidr": "x"}]}).loc == ("s", 1, "text|cidr")


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", "(?<!a)b", r"(a)\1", "a{9999999}", "[z-a]"])
def test_regexes_that_the_engine_does_not_take_are_refused(pattern: str) -> None:
    """Look-around and back references have no linear time; a pattern is never run before it compiles."""
    assert refusal({"s": {"text|re": pattern}}).what.startswith(f"regex {pattern!r} cannot be compiled: ")


def test_look_around_has_a_hint() -> None:
    assert "look-around" in refusal({"s": {"text|re": "a(?=b)"}}).hint
    assert "look-around" in refusal({"s": {"text|re": r"(a)\1"}}).hint


@pytest.mark.parametrize(
    ("searches", "loc", "hint"),
    [
        ({"s": {"text": "a"}, "condition": "selection"}, ("condition",), ""),
        ({"selection": {"text": "a"}, "condition": "selektion"}, ("condition",), "did you mean 'selection'?"),
        ({"s": {"text": "a"}, "condition": []}, ("condition",), ""),
        ({"s": {"text": "a"}, "condition": 1}, ("condition",), ""),
        ({"s": {"text": "a"}, "condition": None}, ("condition",), ""),
        ({"s": {"text": "a"}, "condition": ["s", 1]}, ("condition",), ""),
    ],
)
def test_conditions_that_cannot_be_read(searches: dict[str, Any], loc: tuple[str, ...], hint: str) -> None:
    error = refusal(searches)
    assert error.loc == loc
    assert error.hint == hint


def test_a_detection_needs_a_condition() -> None:
    with pytest.raises(DetectionError, match="no condition"):
        compile_detection({"s": {"text": "a"}})


def test_fields_are_those_a_tree_reads() -> None:
    tree = compile_detection({"s": {"text": "a", "many|fieldref": "other"}, "k": "word", "condition": "s and not k"})
    assert detection.fields(tree) == {"text", "many", "other", "message"}


HIDDEN = frozenset({"other", "number"})


@pytest.mark.parametrize(
    ("test", "loose"),
    [
        ({"text": "a"}, [True, False]),
        ({"text": "a", "other": "x"}, [True, False]),
        ({"other": "x"}, [True, True]),
        ({"other|neq": "x"}, [True, True]),
        ({"text|fieldref": "other"}, [True, True]),
    ],
)
def test_loose_trees_never_lose_a_row(test: dict[str, Any], loose: list[bool]) -> None:
    """What topology will say later is taken for granted, also behind `not`."""
    frame = pl.DataFrame([{"text": "a"}, {"text": "b"}], schema={"text": pl.String()})
    tree = detection.loosen(compile_detection({"s": test, "condition": "s"}), HIDDEN)
    assert frame.with_columns(hit=to_expr(tree, {"text": pl.String()}))["hit"].to_list() == loose


def test_separable_trees_divide_by_columns() -> None:
    known = frozenset({"text"})
    text, other = Test("text", "eq", "a"), Test("other", "eq", "b")
    assert detection.separable(All((text, Not(other))), known)
    assert detection.separable(Some((text, text)), known)
    assert not detection.separable(Some((text, other)), known)


@given(st.text(max_size=30), st.sampled_from(["", "|contains", "|startswith", "|endswith"]), st.lists(st.text(max_size=30)))
def test_any_text_is_matched_as_python_would(value: str, modifier: str, rows: list[str]) -> None:
    """Escaped so that nothing in it is a wildcard, a text means itself."""
    escaped = "".join(f"\\{char}" if char in "*?\\" else char for char in value)
    expected = {
        "": lambda row: row == value,
        "|contains": lambda row: value in row,
        "|startswith": lambda row: row.startswith(value),
        "|endswith": lambda row: row.endswith(value),
    }[modifier]
    rows = [*rows, value, f"x{value}", f"{value}x", f"x{value}x"]
    assert hits({f"text{modifier}|cased": escaped}, rows) == [row for row in rows if expected(row)]
