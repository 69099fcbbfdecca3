"""Sigma detections as trees of field tests, and those trees as Polars expressions.

Matching is case-insensitive except for `re` and `cased`; a missing field matches nothing but `null`; a list-valued field
(one element an upstream attempt) matches when any element does. Modifiers that make no sense for network logs
(encodings, windash, parts of dates) are refused with a message.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline.errors import nearest
from pipeline.signatures import conditions

Scalar = str | int | float | bool | None
Kind = Literal["eq", "contains", "startswith", "endswith", "re", "lt", "lte", "gt", "gte", "cidr", "exists", "fieldref"]

NUMERIC: tuple[Kind, ...] = ("lt", "lte", "gt", "gte")
_MODIFIERS: tuple[Kind, ...] = ("contains", "startswith", "endswith", "re", *NUMERIC, "cidr", "exists", "fieldref")
KINDS: dict[str, Kind] = {name: name for name in _MODIFIERS}
REGEX_FLAGS = {"i": "i", "m": "m", "s": "s", "ignorecase": "i", "multiline": "m", "dotall": "s"}
REFUSED = {
    **dict.fromkeys(("base64", "base64offset", "utf16le", "utf16be", "utf16", "wide"), "encodings do not occur in these logs"),
    "windash": "it is about Windows command lines",
    "expand": "placeholders are not filled in; write the values",
    **dict.fromkeys(("minute", "hour", "day", "week", "month", "year"), "use windows in event time instead"),
}  # fmt: skip
MESSAGE = "message"


class DetectionError(ValueError):
    """A detection that cannot be compiled: where below `detection`, what is wrong, and what to do."""

    def __init__(self, loc: tuple[str | int, ...], what: str, hint: str = "") -> None:
        super().__init__(what)
        self.loc = loc
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Test:
    """One value tested against one field. `flags` are the regex flags of `re`; `cased` respects case."""

    field: str
    kind: Kind
    value: Scalar
    cased: bool = False
    flags: str = ""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    child: "Tree"


@dataclass(frozen=True, slots=True)
class All:
    """Conjunction; empty is true."""

    children: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Disjunction; empty is false."""

    children: tuple["Tree", ...]


Tree = Test | Not | All | Some


def compile_detection(detection: Mapping[str, object]) -> Tree:
    """The tree of a Sigma `detection` map."""
    if "condition" not in detection:
        raise DetectionError((), "detection has no condition", "say how its search identifiers combine")
    searches = {name: _search(value, (name,)) for name, value in detection.items() if name != "condition"}
    try:
        node = conditions.parse_any(_condition(detection["condition"]), tuple(searches))
    except conditions.ConditionError as error:
        raise DetectionError(("condition",), str(error), nearest(error.name, searches)) from error
    return conditions.fold(
        node,
        searches.__getitem__,
        negate=Not,
        conjunction=lambda parts: All(tuple(parts)),
        disjunction=lambda parts: Some(tuple(parts)),
    )


def _condition(value: object) -> str | list[str]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise DetectionError(("condition",), "the condition must be text or a list of texts")
    return value


def tests(tree: Tree) -> Iterator[Test]:
    """Every field test of a tree."""
    if isinstance(tree, Test):
        yield tree
    elif isinstance(tree, Not):
        yield from tests(tree.child)
    else:
        for child in tree.children:
            yield from tests(child)


def fields(tree: Tree) -> frozenset[str]:
    """The columns a tree needs."""
    named = {test.field for test in tests(tree)}
    return frozenset(named | {str(test.value) for test in tests(tree) if test.kind == "fieldref"})


def loosen(tree: Tree, unknown: frozenset[str], *, positive: bool = True) -> Tree:
    """A tree that holds wherever `tree` could hold if the columns `unknown` had the best possible values."""
    if isinstance(tree, Test):
        hidden = tree.field in unknown or (tree.kind == "fieldref" and tree.value in unknown)
        return (All(()) if positive else Some(())) if hidden else tree
    if isinstance(tree, Not):
        return Not(loosen(tree.child, unknown, positive=not positive))
    return type(tree)(tuple(loosen(child, unknown, positive=positive) for child in tree.children))


def separable(tree: Tree, known: frozenset[str]) -> bool:
    """Whether a tree is a conjunction of parts that each look only at `known` columns, or at none of them."""
    if isinstance(tree, All):
        return all(separable(child, known) for child in tree.children)
    return fields(tree) <= known or not fields(tree) & known


def _search(value: object, loc: tuple[str | int, ...]) -> Tree:
    """A search identifier: a map (AND), a list of maps or keywords (OR)."""
    if isinstance(value, Mapping):
        if not value:
            raise DetectionError(loc, "an empty selection would match every row", "name at least one field")
        return All(tuple(_field(str(key), test, (*loc, str(key))) for key, test in value.items()))
    if isinstance(value, list):
        return Some(tuple(_search(item, (*loc, at)) for at, item in enumerate(_filled(value, loc))))
    return _value(MESSAGE, ["contains"], value, loc)


def _filled(value: object, loc: tuple[str | int, ...]) -> list[object]:
    if not isinstance(value, list) or not value:
        raise DetectionError(loc, "a list of values is expected", "write at least one, each behind a dash")
    return value


def _field(key: str, value: object, loc: tuple[str | int, ...]) -> Tree:
    name, *modifiers = key.split("|")
    if not name and modifiers == ["all"]:  # '|all' over keywords
        return All(tuple(_search(item, (*loc, at)) for at, item in enumerate(_filled(value, loc))))
    for modifier in modifiers:
        _check_modifier(modifier, loc)
    tree = _values(name or MESSAGE, modifiers, value, loc)
    return Not(tree) if "neq" in modifiers else tree


def _values(name: str, modifiers: list[str], value: object, loc: tuple[str | int, ...]) -> Tree:
    if not isinstance(value, list):
        return _value(name, modifiers, value, loc)
    if None in value:
        raise DetectionError(loc, "null may not stand in a list", "write a selection of its own for the missing field")
    parts = tuple(_value(name, modifiers, item, (*loc, at)) for at, item in enumerate(_filled(value, loc)))
    return All(parts) if "all" in modifiers else Some(parts)


def _check_modifier(modifier: str, loc: tuple[str | int, ...]) -> None:
    if modifier in REFUSED:
        raise DetectionError(loc, f"modifier '{modifier}' is not supported", REFUSED[modifier])
    known = {*KINDS, *REGEX_FLAGS, "all", "cased", "neq"}
    if modifier not in known:
        raise DetectionError(loc, f"unknown modifier '{modifier}'", nearest(modifier, known))


def _value(name: str, modifiers: list[str], value: object, loc: tuple[str | int, ...]) -> Test:
    kinds = [KINDS[modifier] for modifier in modifiers if modifier in KINDS]
    if len(kinds) > 1:
        raise DetectionError(loc, f"'{kinds[0]}' and '{kinds[1]}' cannot stand together")
    kind: Kind = kinds[0] if kinds else "eq"
    if value is not None and not isinstance(value, str | int | float | bool):
        raise DetectionError(loc, f"{value!r} is not a value", "give text, a number or a list of them")
    _check_value(kind, value, loc)
    flags = "".join(REGEX_FLAGS[modifier] for modifier in modifiers if modifier in REGEX_FLAGS)
    return Test(name, kind, value, cased="cased" in modifiers or kind == "re", flags=flags)


def _check_value(kind: Kind, value: Scalar, loc: tuple[str | int, ...]) -> None:
    if kind in NUMERIC and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DetectionError(loc, f"'{kind}' compares numbers, not {value!r}")
    if kind == "exists" and not isinstance(value, bool):
        raise DetectionError(loc, "'exists' takes true or false")
    if kind in ("contains", "startswith", "endswith", "fieldref") and (value is None or isinstance(value, bool)):
        raise DetectionError(loc, f"'{kind}' needs text")
    if kind == "cidr":
        try:
            ipaddress.ip_network(str(value), strict=False)
        except ValueError as error:
            raise DetectionError(loc, f"{value!r} is not a network", "write it like 10.0.0.0/8") from error
    if kind == "re":
        check_regex(str(value), loc)


def check_regex(pattern: str, loc: tuple[str | int, ...]) -> None:
    """Refuse a pattern that the one regex engine (Rust, linear time) does not take."""
    try:
        pl.select(pl.lit("").str.contains(pattern, strict=True))
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())
        hint = "look-around and back references are not in this engine" if "(?" in pattern or "\\1" in pattern else ""
        raise DetectionError(loc, f"regex {pattern!r} cannot be compiled: {reason[:160]}", hint) from error


_WILDCARDS = {"*": ".*", "?": "."}


def wildcard_regex(text: str) -> str:
    """The regex of Sigma text: `*` any run, `?` one character, a backslash escapes one of the three."""
    return "".join(_WILDCARDS.get(piece) or re.escape(piece.removeprefix("\\") or piece) for piece in _pieces(text))


def fixed_runs(text: str) -> list[str]:
    """What stands between the wildcards of Sigma text, as it is meant."""
    runs = [""]
    for piece in _pieces(text):
        if piece in _WILDCARDS:
            runs.append("")
        else:
            runs[-1] += piece.removeprefix("\\") or piece
    return runs


def _pieces(text: str) -> list[str]:
    """Sigma text by characters; one that is escaped keeps its backslash, which else stands for itself."""
    return re.findall(r"\\[*?\\]|.", text, re.DOTALL)


def to_expr(tree: Tree, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The boolean expression of a tree over a frame with (at least) the columns of `schema`; never null."""
    if isinstance(tree, Test):
        return _test_expr(tree, schema)
    if isinstance(tree, Not):
        return ~to_expr(tree.child, schema)
    if not tree.children:
        return pl.lit(isinstance(tree, All))
    parts = [to_expr(child, schema) for child in tree.children]
    return pl.all_horizontal(parts) if isinstance(tree, All) else pl.any_horizontal(parts)


def _test_expr(test: Test, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    if test.field not in schema:
        return pl.lit((test.kind == "exists" and test.value is False) or (test.kind == "eq" and test.value is None))
    column, dtype = pl.col(test.field), schema[test.field]
    if test.kind == "fieldref":
        return _same(test.field, str(test.value), schema).fill_null(value=False)
    if isinstance(dtype, pl.List):
        present = column.is_not_null() & (column.list.len() > 0).fill_null(value=False)
        if test.kind == "exists" or test.value is None:
            return present if test.value is True else ~present
        inner = _scalar_expr(pl.element(), dtype.inner, test)  # type: ignore[arg-type]
        return column.list.eval(inner.fill_null(value=False)).list.any().fill_null(value=False)
    if test.kind == "exists" or test.value is None:
        return column.is_not_null() if test.value is True else column.is_null()
    return _scalar_expr(column, dtype, test).fill_null(value=False)


def _same(field: str, other: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Whether two columns have the same value; a list does when any of its elements has it."""
    if other not in schema:
        return pl.lit(value=False)
    lists = [isinstance(schema[name], pl.List) for name in (field, other)]
    left, right = (
        pl.col(name).cast(pl.List(pl.String()) if many else pl.String()) for name, many in zip((field, other), lists, strict=True)
    )
    if all(lists):
        return left.list.set_intersection(right).list.drop_nulls().list.len() > 0
    if any(lists):
        many, one = (left, right) if lists[0] else (right, left)
        return one.is_not_null() & many.list.contains(one)
    return left == right


def _scalar_expr(column: pl.Expr, dtype: pl.DataType, test: Test) -> pl.Expr:
    value = test.value
    if test.kind in NUMERIC:
        number = column.cast(pl.Float64, strict=False) if dtype == pl.String() else column
        return {"lt": number < value, "lte": number <= value, "gt": number > value, "gte": number >= value}[test.kind]
    if test.kind == "cidr":
        return cidr_expr(column if dtype == pl.String() else column.cast(pl.String), str(value))
    if test.kind == "eq" and dtype != pl.String() and not dtype.is_temporal() and not isinstance(value, str):
        return column == value
    text = column if dtype == pl.String() else column.cast(pl.String)
    return text.str.contains(pattern(test))


def pattern(test: Test) -> str:
    """The Rust regex of a text test."""
    if test.kind == "re":
        return f"(?{test.flags}){test.value}" if test.flags else str(test.value)
    body = wildcard_regex(_sigma_text(test.value))
    start = "" if test.kind in ("contains", "endswith") else r"\A"
    end = "" if test.kind in ("contains", "startswith") else r"\z"
    return f"(?s{'' if test.cased else 'i'}){start}{body}{end}"


def _sigma_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def cidr_expr(column: pl.Expr, network: str) -> pl.Expr:
    """Membership of textual addresses in a network; addresses that are none are outside.

    Decided on the distinct values (few among candidates) by the standard library, since IPv6 has many spellings.
    """
    net = ipaddress.ip_network(network, strict=False)

    def inside(values: pl.Series) -> pl.Series:
        unique = values.unique().drop_nulls().to_list()
        members = [address for address in unique if _inside(address, net)]
        return values.is_in(members)

    return column.map_batches(inside, return_dtype=pl.Boolean)


def _inside(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.version == network.version and parsed in network
