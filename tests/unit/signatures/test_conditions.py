"""Conditions of detections and correlations: precedence, patterns, and what is refused."""

import re
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.signatures import conditions
from pipeline.signatures.conditions import All, ConditionError, Not, Ref, Some, evaluate, parse, parse_any

NAMES = ("a", "b", "c", "sel_1", "sel_2", "_hidden")
A, B, C = Ref("a"), Ref("b"), Ref("c")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", A),
        ("not a", Not(A)),
        ("not not a", Not(Not(A))),
        ("a and b or c", Some((All((A, B)), C))),
        ("a or b and c", Some((A, All((B, C))))),
        ("not a and b", All((Not(A), B))),
        ("not (a and b)", Not(All((A, B)))),
        ("(a or b) and c", All((Some((A, B)), C))),
        ("a and b and c", All((A, B, C))),
        ("a AND Not b", All((A, Not(B)))),
        ("1 of sel_*", Some((Ref("sel_1"), Ref("sel_2")))),
        ("any of sel_*", Some((Ref("sel_1"), Ref("sel_2")))),
        ("all of sel_?", All((Ref("sel_1"), Ref("sel_2")))),
        ("not 1 of sel_*", Not(Some((Ref("sel_1"), Ref("sel_2"))))),
        ("1 of a", Some((A,))),
        ("  ( a )  ", A),
    ],
)
def test_precedence(text: str, tree: conditions.Node) -> None:
    """`or` binds least, then `and`, `not`, `x of`, parentheses; the words in any case."""
    assert parse(text, NAMES) == tree


@pytest.mark.parametrize(("word", "kind"), [("1", Some), ("all", All)])
def test_them_leaves_out_hidden_names(word: str, kind: type[All] | type[Some]) -> None:
    """A name that begins with an underscore is a part for others, but it can be named."""
    assert parse(f"{word} of them", NAMES) == kind(tuple(Ref(name) for name in NAMES if name != "_hidden"))
    assert parse("_hidden", NAMES) == Ref("_hidden")


def test_a_list_is_any_of_its_conditions() -> None:
    assert parse_any(["a and b", "c"], NAMES) == Some((All((A, B)), C))
    assert parse_any("a", NAMES) == A


def test_names_may_be_numbers_words_and_have_dashes() -> None:
    """A name that looks like an operator's part is a name where a name must stand."""
    assert parse("1 and all", ("1", "all")) == All((Ref("1"), Ref("all")))
    assert parse("some-name.x", ("some-name.x",)) == Ref("some-name.x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a and", "ends too early"),
        ("not", "ends too early"),
        ("1 of", "ends too early"),
        ("and a", "expected before 'and'"),
        ("a or or b", "expected before 'or'"),
        ("()", "expected before ')'"),
        ("(a", "not closed"),
        ("a)", "unexpected ')'"),
        ("a b", "unexpected 'b'"),
        ("a | count() > 5", "'|' is not allowed"),
        ("a & b", "'&' is not allowed"),
        ("(" * 5000 + "a" + ")" * 5000, "more than 100 parentheses"),
        ("not " * 5000 + "a", "more than 100 parentheses"),
        ("1 of nothing_*", "nothing matches 'nothing_*'"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, message: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(message)):
        parse(text, NAMES)


@pytest.mark.parametrize(("text", "name"), [("a and selection", "selection"), ("1 of x_*", "x_*")])
def test_an_unknown_name_is_handed_out(text: str, name: str) -> None:
    """So that the nearest known one can be suggested."""
    with pytest.raises(ConditionError) as caught:
        parse(text, NAMES)
    assert caught.value.name == name


@pytest.mark.parametrize(("text", "negates"), [("a and b", False), ("a and not b", True), ("not (a or b)", True)])
def test_negation_is_noticed(text: str, negates: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert conditions.has_negation(parse(text, NAMES)) is negates


def test_nesting_ends_late_enough() -> None:
    assert evaluate(parse("(" * 100 + "a" + ")" * 100, NAMES), lambda _: True)
    assert evaluate(parse("not " * 100 + "a", NAMES), lambda _: True)


def test_the_names_of_a_tree() -> None:
    assert conditions.names(parse("a and not (b or a)", NAMES)) == {"a", "b"}


def test_rename_keeps_the_shape() -> None:
    tree = parse("a and not (b or c)", NAMES)
    assert conditions.rename(tree, {"a": "x", "b": "y", "c": "z"}) == parse("x and not (y or z)", ("x", "y", "z"))


TREES = st.recursive(
    st.sampled_from(["a", "b", "c"]),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not {text}"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)


@given(TREES)
def test_conditions_mean_what_python_means(text: str) -> None:
    """Python's own operators have the same words and the same precedence."""
    tree = parse(text, NAMES)
    for values in product([False, True], repeat=3):
        truth = dict(zip("abc", values, strict=True))
        assert evaluate(tree, truth.__getitem__) is eval(text, {}, truth)  # noqa: S307 (made of three names and operators)


@given(st.text(max_size=40))
def test_no_text_does_worse_than_a_condition_error(text: str) -> None:
    with suppress(ConditionError):
        parse(text, NAMES)
