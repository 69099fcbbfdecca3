"""Incidents of a store as JSON carries them and as one line shows them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.cli import tree
from pipeline.contracts.store import Feedback, Stored
from pipeline.model import public, words

ID = 8
"""Letters of an id that are shown; the beginning of an id is enough for every command."""


def as_dict(found: Stored) -> dict[str, Any]:
    """An incident of the store: the public form and what the store knows besides."""
    return {
        "thread": found.thread,
        "id": found.id,
        "aliases": list(found.aliases),
        "merged_into": found.merged_into,
        "revision": found.revision,
        "incident": dict(found.incident),
        "feedback": [feedback(said) for said in found.feedback],
    }


def feedback(said: Feedback) -> dict[str, Any]:
    """What a person said."""
    at = public.rfc3339(said.at)
    return {"at": at, "verdict": said.verdict, "author": said.author, "cause": said.cause, "note": said.note}


def print_json(value: Mapping[str, Any]) -> None:
    """One object a line."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def head(found: Stored) -> list[Text]:
    """Id, when, what, where."""
    form = found.incident
    return [Text(found.id[:ID]), Text(when(form["started"])), Text(form["signature"], "cyan"), Text(public.place(form))]


def state(form: Mapping[str, Any]) -> str:
    """How long it lasted, and what is special about it."""
    if form.get("withdrawn"):
        return "withdrawn"
    if form["status"] == "near_miss":
        return "near miss"
    if form["ended"] is None:
        return "going on"
    return words.lasted(public.microseconds(form["ended"]) - public.microseconds(form["started"]))


def when(at: str) -> str:
    """An RFC 3339 time as date and time of day, UTC."""
    return f"{at[:10]} {tree.clock(at)}"


def table(rows: Iterable[Sequence[Text]], out: Console) -> None:
    """Columns as wide as they must be."""
    given = list(rows)
    widths = [max(cell.cell_len for cell in column) for column in zip(*given, strict=True)]
    for row in given:
        line = Text("  ").join(_padded(cell, width) for cell, width in zip(row, widths, strict=True))
        line.rstrip()
        out.print(line)


def _padded(cell: Text, width: int) -> Text:
    padded = cell.copy()
    padded.append(" " * (width - cell.cell_len))
    return padded
