"""Invalid documents made valid for the sake of their other problems: all problems of all files show in one run.

What is misspelt gets the name that was meant, what is missing a stand-in, what is wrong is left out. Nothing mended ever
runs: what had to be mended is an error, and an error stops the load.
"""

import copy
from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.documents import Loc
from pipeline.errors import closest

ROUNDS = 4
"""A wrong value is left out in one round, missed in the next and replaced in the third."""
STAND_INS: Mapping[str, object] = {
    "title": "?",
    "version": 1,
    "status": "test",
    "layer": "headwater",
    "level": "low",
    "what": "?",
    "cause": "?",
    "impact": "?",
    "first_aid": ["?"],
    "fix": ["?"],
    "false_positives": ["?"],
    "references": ["?"],
    "confidence": 0.5,
    "alert": {"annotations": {"summary": "?"}},
    "timespan": "15m",
    "condition": {"gte": 1},
}
"""Values that no check finds fault with. An id is made where it is missing: two must not be equal."""

M = TypeVar("M", bound=BaseModel)


def mended(model: type[M], value: Mapping[str, object], error: ValidationError, known: Collection[str], place: str) -> M | None:
    """The document with its errors mended, or None; `known` are the keys there are, `place` is what no other document has."""
    body = copy.deepcopy(dict(value))
    for _ in range(ROUNDS):
        done: set[Loc] = set()
        for item in reversed(error.errors(include_url=False)):
            _mend(body, item, known, place, done)
        try:
            return model.model_validate(body)
        except ValidationError as again:
            error = again
    return None


def _mend(body: dict[str, object], item: ErrorDetails, known: Collection[str], place: str, done: set[Loc]) -> None:
    path, parent, within = _existing(body, item["loc"])
    if item["type"] == "missing":
        key = str(item["loc"][-1])
        if isinstance(within, dict) and (key == "id" or key in STAND_INS):
            within.setdefault(key, copy.deepcopy(STAND_INS.get(key, place)))
        return
    if not path or path in done:
        return
    done.add(path)
    if isinstance(parent, dict):
        removed = parent.pop(path[-1], None)
        meant = closest(str(path[-1]), known) if item["type"] == "extra_forbidden" else None
        if meant:
            parent.setdefault(meant, removed)
    elif isinstance(parent, list) and isinstance(path[-1], int):
        del parent[path[-1]]


def _existing(body: object, loc: Loc) -> tuple[Loc, object, object]:
    """The parts of `loc` that exist (pydantic adds the tags of unions), what holds the last of them, and what stands there."""
    path: Loc = ()
    parent: object = None
    value = body
    for part in loc:
        inside = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
        if part in inside:
            parent, value, path = value, inside[part], (*path, part)
    return path, parent, value
