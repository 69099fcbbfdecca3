"""Lists of past incidents on the terminal, or as JSON lines."""

import dataclasses
from collections.abc import Sequence

from rich.text import Text

from pipeline.cli import stored, stores, tree
from pipeline.contracts.store import Query, Statistic, Store, Stored
from pipeline.errors import UsageError
from pipeline.model import public, words

NONE = "No incident meets that."


def incidents(opened: stores.Opened, query: Query, output: str) -> None:
    """By filters."""
    found = opened.store.incidents(query)
    _known(opened, query, found)
    if output == "json":
        for one in found:
            stored.print_json(stored.as_dict(one))
        return
    out = tree.console()
    stored.table(map(_row, found), out)
    if not found:
        out.print(NONE)


def _row(found: Stored) -> list[Text]:
    identity, when, signature, place = stored.head(found)
    form = found.incident
    level = Text(form["level"].upper(), tree.LEVEL_STYLE.get(form["level"], "bold"))
    symptoms = len(form["symptoms"])
    below = f"{symptoms} symptom{'s' if symptoms != 1 else ''}" if symptoms else "symptom" if form["cause"] else ""
    said = f"marked {found.feedback[-1].verdict}" if found.feedback else ""
    return [identity, when, Text(stored.state(form)), level, signature, place, Text(below, "dim"), Text(said)]


def search(opened: stores.Opened, text: Sequence[str], query: Query, output: str) -> None:
    """By text."""
    asked = " ".join(text)
    hits = opened.store.search(asked, query)
    _known(opened, query, hits)
    if not any(letter.isalnum() for letter in asked):
        raise UsageError(f"searching {asked!r}: there is no word in it; give words, a phrase or the beginning of a word*")
    if output == "json":
        for hit in hits:
            stored.print_json({"score": hit.score, "where": hit.where, "text": hit.text, **stored.as_dict(hit.incident)})
        return
    out = tree.console()
    for hit in hits:
        out.print(Text("  ").join(stored.head(hit.incident)))
        out.print(Text.assemble(" " * (stored.ID + 2), (f"{hit.where}: ", "dim"), " ".join(hit.text.split())))
    if not hits:
        out.print("Nothing holds all of that.")


def similar(store: Store, identity: str, limit: int, output: str) -> None:
    """By likeness to one."""
    found = store.similar(stores.incident(store, identity).thread, limit)
    if output == "json":
        for one in found:
            stored.print_json({"score": one.score, "why": list(one.why), "ended": one.ended, **stored.as_dict(one.incident)})
        return
    out = tree.console()
    for one in found:
        out.print(Text("  ").join([Text(f"{one.score:.2f}", "bold"), *stored.head(one.incident)]))
        out.print(Text.assemble("      ", ("why    ", "dim"), "; ".join(one.why)))
        out.print(Text.assemble("      ", ("ended  ", "dim"), one.ended or "goes on"))
    if not found:
        out.print("Nothing like it happened before.")


def stats(opened: stores.Opened, query: Query, output: str) -> None:
    """By signature and place."""
    found = opened.store.statistics(query)
    _known(opened, query, found)
    if output == "json":
        for one in found:
            stored.print_json({**dataclasses.asdict(one), "last": public.rfc3339(one.last)})
        return
    out = tree.console()
    names = ("times", "signature", "place", "in all", "last", "right", "wrong")
    if found:
        stored.table([[Text(name, "dim") for name in names], *map(_counted, found)], out)
    else:
        out.print(NONE)


def _counted(one: Statistic) -> list[Text]:
    last = stored.when(public.rfc3339(one.last) or "")
    span = words.lasted(round(one.seconds * 1_000_000))
    cells = (f"{one.count:5}", one.signature, one.entity, span, last, f"{one.right or '':>5}", f"{one.wrong or '':>5}")
    return [Text(cell) for cell in cells]


def _known(opened: stores.Opened, query: Query, found: Sequence[object]) -> None:
    """An empty answer to a misspelt signature would pass for good news."""
    if not found:
        stores.signature(opened, "--signature", query.signature)
