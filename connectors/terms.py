"""What a person typed into a search: words, "phrases", beginnings of words with a `*`. All of it is text."""

import re
from dataclasses import dataclass

_TERM = re.compile(r'"(?P<phrase>[^"]*)"(?P<open>\*?)|(?P<word>\S+)')


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase to be found; `prefix` where its last word need only begin so."""

    text: str
    prefix: bool


def terms(text: str) -> list[Term]:
    """The terms of a search, all of which must be found. What holds neither letter nor digit is left out."""
    clean = text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    found = []
    for match in _TERM.finditer(clean):
        text, star = (match["phrase"], match["open"]) if match["word"] is None else _split(match["word"].strip('"'))
        if any(letter.isalnum() for letter in text):
            found.append(Term(text, bool(star) and text[-1].isalnum()))  # `10.244.*`: whole numbers, and whatever follows
    return found


def _split(word: str) -> tuple[str, str]:
    bare = word.rstrip("*")
    return bare, word[len(bare) :]
