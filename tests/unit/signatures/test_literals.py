"""Required literals: every row that a detection matches contains one of them, or the scan would lose it."""

import re
from itertools import product

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parsers
from pipeline.signatures import literals
from pipeline.signatures.detection import All, DetectionError, Not, Some, Test, Tree, check_regex, compile_detection, to_expr

SCHEMA = {"message": pl.String(), "text": pl.String()}


def required(test: object) -> frozenset[str] | None:
    tree = compile_detection({"s": test, "condition": "s"})
    return literals.required(tree, lambda column: column != "parsed")


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"message|contains": "Table Full"}, {"table full"}),
        ({"message|startswith": "nf_conntrack"}, {"nf_conntrack"}),
        ({"message|endswith": "dropping packet"}, {"dropping packet"}),
        ({"text": "NXDOMAIN"}, {"nxdomain"}),
        ({"message|contains|cased": "OOMKilled"}, {"oomkilled"}),
        ({"message|contains": ["table full", "refused"]}, {"table full", "refused"}),
        ({"message|contains|all": ["full", "conntrack"]}, {"conntrack"}),
        ({"message|contains": ["timed out", "ab"]}, None),
        ({"message|contains": "timed*connecting"}, {"connecting"}),
        ({"message|contains": r"abc\*def"}, {"abc*def"}),
        ({"message|contains": r"abc\\*defgh"}, {"defgh"}),
        ({"message|contains": 'upstream: "http'}, {"upstream: "}),
        ({"message|contains": "näher dran"}, {"her dran"}),
        ({"message|contains": "ab"}, None),
        ({"message|contains": "*"}, None),
        ({"message": ""}, None),
        ({"message": None}, None),
        ({"message|neq": "refused"}, None),
        ({"message|exists": True}, None),
        ({"message|fieldref": "text"}, None),
        ({"text|gte": 1000}, None),
        ({"text|cidr": "10.0.0.0/8"}, None),
        ({"parsed": "letters"}, None),
        ({"parsed": "letters", "text": "verbatim"}, {"verbatim"}),
        (["refused", {"text": "verbatim", "parsed": "x"}], {"refused", "verbatim"}),
    ],
)
def test_literals_of_tests(test: object, expected: set[str] | None) -> None:
    """Lower case, without what an encoding may escape; the longest of a conjunction, all of a disjunction, none of a negation."""
    assert required(test) == (None if expected is None else frozenset(expected))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("timed out", {"timed out"}),
        ("^timed out$", {"timed out"}),
        (r"table full\b", {"table full"}),
        (r"error: \d+ packets", {" packets"}),
        ("(?:refused|timed out)", {"refused", "timed out"}),
        ("(?:refused|reset)", {"fused", "set"}),  # the parser takes out what they have in common
        ("(?:refused|no)", None),
        ("connection (?:refused|timed)", {"connection "}),
        ("(?P<name>refused)+", {"refused"}),
        ("(?:refused)?", None),
        ("(?:refused)*abc", {"abc"}),
        ("(?:refused){2,}", {"refused"}),
        ("(?:refused){0,2}", None),
        ("[abc]{5}", None),
        (".*", None),
        ("(?i)REFUSED", {"refused"}),
        ("(?x) re fused # spaces are for people", {"refused"}),
        (r"\p{L}+refused", None),
        (r"[[:alpha:]]+refused", None),
        (r"\b{start}refused", None),
        (r"10\.0\.0\.1", {"10.0.0.1"}),
        (r"say \"yes\"", {"say "}),
        ("(", None),
    ],
)
def test_literals_of_regexes(pattern: str, expected: set[str] | None) -> None:
    """What stands in every match; nothing where the two regex engines may read a pattern differently."""
    assert literals.of_regex(pattern) == (None if expected is None else frozenset(expected))


def test_the_choice_is_stable() -> None:
    """Of equally good literals always the same one: the compiled rules must not differ between two starts."""
    trees = [
        All((Test("message", "contains", a), Test("message", "contains", b))) for a, b in (("abcd", "wxyz"), ("wxyz", "abcd"))
    ]
    assert len({literals.required(tree, lambda _: True) for tree in trees}) == 1


# Few pieces, so that texts and tests meet. Without the two letters outside ASCII that fold to k and s.
WORDS = st.lists(
    st.sampled_from(["abc", "Bab", "a", "b.", "*", "?", "\\", "\\*", "\\\\*", '"', "/", " ", "\n", "ä"]), max_size=5
).map("".join)
VALUES = st.tuples(WORDS, st.sampled_from(["abc", "BAB", "a c", "abä"]), WORDS).map("".join)
PATTERN_PARTS = [
    "abc",
    "bab",
    "a",
    "b+",
    ".",
    r"\.",
    "(ab|ba)",
    "(?:abc)?",
    "[ab]",
    "^",
    "$",
    r"\b",
    "(?:aba){2}",
    "x*",
    "(?i)bab",
]
PATTERNS = st.lists(st.sampled_from(PATTERN_PARTS), min_size=1, max_size=6).map("".join)
TESTS = st.one_of(
    st.builds(
        Test,
        st.sampled_from(["message", "text"]),
        st.sampled_from(["eq", "contains", "startswith", "endswith"]),
        VALUES,
        st.booleans(),
    ),
    st.builds(Test, st.just("message"), st.just("re"), PATTERNS, st.just(value=True), st.sampled_from(["", "i", "s", "m"])),
)
TREES = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Some(tuple(parts))),
    ),
    max_leaves=6,
)


def readable(tree: Tree) -> bool:
    """Whether the engine takes every pattern of a tree (`(?i)` may not stand everywhere, for one)."""
    if isinstance(tree, Not):
        return readable(tree.child)
    if isinstance(tree, All | Some):
        return all(readable(child) for child in tree.children)
    try:
        check_regex(str(tree.value) if tree.kind == "re" else "", ())
    except DetectionError:
        return False
    return True


def raw(row: dict[str, str]) -> str:
    """A row as it may stand in the block: both texts, with what JSON escapes escaped."""
    return " ".join(value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for value in row.values()).lower()


@given(st.lists(TREES, min_size=5, max_size=5), st.lists(WORDS, max_size=2))
def test_every_matching_row_contains_a_literal(trees: list[Tree], words: list[str]) -> None:
    """Several trees at a time, since of a random one often nothing is required."""
    for tree in trees:
        found = literals.required(tree, lambda _: True) if readable(tree) else None
        if found is not None:
            assert all(len(text) >= literals.MINIMUM for text in found)
            for row in matching(tree, words):
                assert any(text in raw(row) for text in found), row


def matching(tree: Tree, words: list[str]) -> list[dict[str, str]]:
    """Rows that match, among those made of the values of the tree itself, alone and joined, and of other words."""
    own = [re.sub(r"\\([*?\\])|[*?]", lambda found: found[1] or "-", str(value)) for value in _values(tree)][:4]
    texts = dict.fromkeys([*own, *("".join(pair) for pair in product(own, own)), *words, ""])
    frame = pl.DataFrame([{"message": a, "text": b} for a, b in product(texts, texts)], schema=SCHEMA)
    return frame.filter(to_expr(tree, SCHEMA)).to_dicts()


def _values(tree: Tree) -> list[object]:
    if isinstance(tree, Test):
        return [tree.value]
    children = (tree.child,) if isinstance(tree, Not) else tree.children
    return [value for child in children for value in _values(child)]


def test_a_text_of_everyday_lines_is_no_literal() -> None:
    """What stands in every line of a healthy cluster is passed over for another text, or nothing is required."""
    everyday = parsers.vocabulary().everyday()
    assert literals.of_regex("udp .*truncated", everyday) == {"truncated"}
    assert literals.of_regex("(?:udp|refused)", everyday) is None
