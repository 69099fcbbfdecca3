"""YAML with positions: values are plain, every part knows its line and column, and what is wrong is said with its place."""

from pathlib import Path

import pytest

from pipeline import documents

PATH = Path("rule.yaml")


def one(text: str) -> documents.Document:
    parsed, problems = documents.parse(PATH, text)
    assert not problems
    assert len(parsed) == 1
    return parsed[0]


def problems(text: str) -> list[str]:
    return [str(problem) for problem in documents.parse(PATH, text)[1]]


def test_values_are_plain_python() -> None:
    """Scalars have the type that YAML 1.2 gives them; a mapping keeps its order."""
    text = "a: 1\nb: 0.5\nc: text\nd: [true, null, '']\ne: {f: '1'}\n"
    value = one(text).value
    assert value == {"a": 1, "b": 0.5, "c": "text", "d": [True, None, ""], "e": {"f": "1"}}
    assert list(value) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("word", ["on", "off", "yes", "no"])
def test_words_of_old_yaml_stay_words(word: str) -> None:
    """`on:` is a key of ours and `no` a value: only true and false are truths."""
    assert one(f"{word}: {word}").value == {word: word}


def test_dates_and_binary_stay_text() -> None:
    """A date is metadata that people read; nothing may turn it into an object."""
    assert one("date: 2026-03-01\nat: 2026-03-01T10:00:00Z\nb: !!binary aGk=\n").value == {
        "date": "2026-03-01",
        "at": "2026-03-01T10:00:00Z",
        "b": "aGk=",
    }


def test_folded_text_is_one_line_of_plain_text() -> None:
    """Lines that YAML folds are joined by a blank and nothing else: the text goes to terminals, chats and parsers."""
    assert one("condition: >-\n    one and\n    two\n").value == {"condition": "one and two"}


def test_positions_are_those_of_keys_and_items() -> None:
    """Line and column count from 1; a value stands where its key does."""
    found = one("a:\n  b:\n    - x\n    - {c: y}\n")
    assert found.where(("a",)) == (1, 1)
    assert found.where(("a", "b")) == (2, 3)
    assert found.where(("a", "b", 0)) == (3, 7)
    assert found.where(("a", "b", 1, "c")) == (4, 8)


def test_a_place_that_is_not_there_is_the_nearest_that_is() -> None:
    """Pydantic puts the tags of unions between keys, and names keys that are missing."""
    found = one("a:\n  b: 1\n")
    assert found.where(("a", "some-tag", "b")) == (2, 3)
    assert found.where(("a", "missing")) == (1, 1)
    assert found.where(("missing",)) == (1, 1)


def test_problems_print_as_path_line_column() -> None:
    """The form that editors jump to; a hint follows behind a semicolon."""
    found = one("a:\n  b: 1\n")
    assert str(found.problem(("a", "b"), "wrong", "mend it")) == "rule.yaml:2:3: wrong; mend it"
    assert str(found.problem(("a",), "odd", warning=True)) == "rule.yaml:1:1: warning: odd"


def test_documents_of_a_file_know_their_lines() -> None:
    """Lines count through the file, not from the separator; empty documents are none."""
    parsed, found = documents.parse(PATH, "a: 1\n---\n---\nb: 2\n")
    assert not found
    assert [d.value for d in parsed if d.value is not None] == [{"a": 1}, {"b": 2}]
    assert parsed[-1].where(("b",)) == (4, 1)
    assert parsed[-1].where(()) == (4, 1)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_a_file_without_content_is_no_error(text: str) -> None:
    parsed, found = documents.parse(PATH, text)
    assert not found
    assert all(d.value is None for d in parsed)


def test_every_duplicate_key_is_reported_where_it_stands() -> None:
    """All of them at once, at any depth, with the line of the first; the first value counts."""
    text = "a: 1\nb: {c: 1, c: 2}\na: 2\n"
    parsed, found = documents.parse(PATH, text)
    assert parsed[0].value == {"a": 1, "b": {"c": 1}}
    assert [str(problem) for problem in found] == [
        "rule.yaml:2:11: duplicate key 'c'; it stands in line 2 already",
        "rule.yaml:3:1: duplicate key 'a'; it stands in line 1 already",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", "rule.yaml:2:2: "),
        ("a: 'open\n", "rule.yaml:2:1: "),
        ("a: 1\n  b: 2\n", "rule.yaml:2:4: "),
        ("a: *nothing\n", "rule.yaml:1:4: "),
        ("\ta: 1\n", "rule.yaml:1:1: "),
    ],
)
def test_broken_yaml_names_the_place(text: str, place: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(f"{place}broken YAML: ")


def test_what_stands_before_a_break_is_read() -> None:
    """One broken document does not hide the problems of those before it."""
    parsed, found = documents.parse(PATH, "a: 1\n---\nb: [\n")
    assert [d.value for d in parsed] == [{"a": 1}]
    assert len(found) == 1


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "a: &x {b: *x}\n", "[" * 50 + "]" * 50])
def test_endless_and_deep_values_end(text: str) -> None:
    """An alias that contains itself is an error, not an endless loop."""
    assert any("nested too deep" in problem for problem in problems(text))


@pytest.mark.parametrize(
    "text", ["a: \x00", "a: \ud7ff\x01", "? [a, b]\n: 1\n", "a: !!int x\n", "!!python/object:os.system {}\n"]
)
def test_nothing_raises(text: str) -> None:
    documents.parse(PATH, text)


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    """A missing file and one that is no UTF-8 are reported like any other problem."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (binary, tmp_path / "missing.yaml"):
        parsed, found = documents.read(path)
        assert not parsed
        assert len(found) == 1
        assert "cannot be read" in found[0].what
        assert found[0].path == path
