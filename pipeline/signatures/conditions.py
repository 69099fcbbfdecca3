"""Boolean conditions, as Sigma writes them: over search identifiers in a detection, over rule names in a correlation.

    condition: (1 of select_* or all of them) and not filter

Precedence: or < and < not < `x of` < parentheses. Identifiers that begin with `_` are left out of `them`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

T = TypeVar("T")

_TOKEN = re.compile(r"\s*(?:(?P<paren>[()])|(?P<word>[A-Za-z0-9_.*?-]+))")


MAX_NESTED = 100
"""As deep as the recursive descent may have to go."""


class ConditionError(ValueError):
    """A condition that cannot be read; `name` is the identifier at fault where it is one."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class Ref:
    """An identifier of the condition."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    child: "Node"


@dataclass(frozen=True, slots=True)
class All:
    """Conjunction."""

    children: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Disjunction."""

    children: tuple["Node", ...]


Node = Ref | Not | All | Some


def parse(text: str, names: Sequence[str]) -> Node:
    """The tree of `text`; identifiers must be among `names`, patterns (`sel*`) are resolved against them."""
    tokens = _tokens(text)
    parser = _Parser(tokens, names)
    node = parser.disjunction()
    if parser.rest():
        raise ConditionError(f"unexpected '{parser.rest()[0]}' in condition '{text}'")
    return node


def parse_any(texts: str | Sequence[str], names: Sequence[str]) -> Node:
    """As `parse`; a list of conditions is their disjunction."""
    if isinstance(texts, str):
        return parse(texts, names)
    return Some(tuple(parse(text, names) for text in texts))


def fold(
    node: Node,
    ref: Callable[[str], T],
    *,
    negate: Callable[[T], T],
    conjunction: Callable[[list[T]], T],
    disjunction: Callable[[list[T]], T],
) -> T:
    """The value of a tree, given what its leaves and operators mean."""

    def walk(part: Node) -> T:
        if isinstance(part, Ref):
            return ref(part.name)
        if isinstance(part, Not):
            return negate(walk(part.child))
        children = [walk(child) for child in part.children]
        return conjunction(children) if isinstance(part, All) else disjunction(children)

    return walk(node)


def rename(node: Node, names: Mapping[str, str]) -> Node:
    """The tree with other names in it."""
    if isinstance(node, Ref):
        return Ref(names[node.name])
    if isinstance(node, Not):
        return Not(rename(node.child, names))
    return type(node)(tuple(rename(child, names) for child in node.children))


def names(node: Node) -> frozenset[str]:
    """The names in the tree."""

    def union(parts: list[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*parts)

    return fold(node, lambda name: frozenset({name}), negate=lambda part: part, conjunction=union, disjunction=union)


def evaluate(node: Node, truth: Callable[[str], bool]) -> bool:
    """The truth of a tree, given the truth of its names."""
    return fold(node, truth, negate=lambda value: not value, conjunction=all, disjunction=any)


def has_negation(node: Node) -> bool:
    """Whether anything in the tree is negated."""
    return fold(node, lambda _: False, negate=lambda _: True, conjunction=any, disjunction=any)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConditionError(f"'{text[at:].strip()[:1]}' is not allowed in condition '{text}'")
        tokens.append(match.group().strip())
        at = match.end()
    if not tokens:
        raise ConditionError("the condition is empty")
    if sum(token.lower() in ("(", "not") for token in tokens) > MAX_NESTED:
        raise ConditionError(f"the condition has more than {MAX_NESTED} parentheses and negations")
    return tokens


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, tokens: list[str], names: Sequence[str]) -> None:
        self._tokens = tokens
        self._names = names
        self._at = 0

    def rest(self) -> list[str]:
        return self._tokens[self._at :]

    def disjunction(self) -> Node:
        return self._chain("or", self._conjunction, Some)

    def _conjunction(self) -> Node:
        return self._chain("and", self._negation, All)

    def _chain(self, word: str, part: Callable[[], Node], kind: type[All] | type[Some]) -> Node:
        parts = [part()]
        while self._accept(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _negation(self) -> Node:
        return Not(self._negation()) if self._accept("not") else self._atom()

    def _atom(self) -> Node:
        if self._accept("("):
            node = self.disjunction()
            if not self._accept(")"):
                raise ConditionError("a parenthesis is not closed")
            return node
        word = self._next()
        if word.lower() in ("1", "any", "all") and self._accept("of"):
            return self._of(self._next(), All if word.lower() == "all" else Some)
        if word.lower() in ("and", "or", "not", "of", ")"):
            raise ConditionError(f"a name is expected before '{word}'")
        if word not in self._names:
            raise ConditionError(f"'{word}' is not defined", word)
        return Ref(word)

    def _of(self, pattern: str, kind: type[All] | type[Some]) -> Node:
        if pattern == "them":
            matched = [name for name in self._names if not name.startswith("_")]
        else:
            matched = [name for name in self._names if fnmatchcase(name, pattern)]
        if not matched:
            raise ConditionError(f"nothing matches '{pattern}'", pattern)
        return kind(tuple(Ref(name) for name in matched))

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise ConditionError("the condition ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, word: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].lower() == word:
            self._at += 1
            return True
        return False
