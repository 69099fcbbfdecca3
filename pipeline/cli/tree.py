"""Incidents as a person reads them: what broke, what hangs below it, why, what speaks against it, what to do.

Plain text unless the terminal can do more; styles are rich's and vanish with NO_COLOR or in a pipe.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.model import words
from pipeline.model.public import microseconds, place

Form = Mapping[str, Any]
"""An incident in its public form."""

LEVEL_STYLE = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "bold yellow",
    "low": "bold cyan",
    "informational": "bold",
}
LABEL = 7
PLAIN_WIDTH = 118
EXCERPT = 110


@dataclass(frozen=True, slots=True)
class Forms:
    """The branches of the tree, in what the output can show."""

    branch: str
    last: str
    pipe: str
    dot: str


UNICODE = Forms("├─ ", "└─ ", "│  ", " · ")
ASCII = Forms("|- ", "`- ", "|  ", ", ")


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a plain page where there is none."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made


def show(incidents: Sequence[Form], out: Console, *, near_misses: bool = False) -> None:
    """Print the trees of all roots, then near misses where they are asked for."""
    by_id = {incident["id"]: incident for incident in incidents}
    roots = [incident for incident in incidents if incident["cause"] is None and incident["status"] != "near_miss"]
    for number, root in enumerate(roots):
        if number:
            out.print()
        for line in tree(root, by_id, out.width, forms(out)):
            out.print(line)
    if near_misses:
        _near(incidents, out)


def forms(out: Console) -> Forms:
    """Symbols that the output's encoding has."""
    return UNICODE if (out.encoding or "").lower().startswith("utf") else ASCII


def tree(root: Form, by_id: Mapping[str, Form], width: int, shapes: Forms) -> Iterator[Text]:
    """One root with everything below it."""
    yield _head(root, width, shapes)
    yield from _wrapped(root["impact"], width, "")
    yield from _symptoms(root, by_id, shapes, "  ")
    yield from _labelled("Why", _why(root, shapes), width)
    against = _against(root, by_id)
    if against:
        yield from _labelled("Not", against, width)
    yield from _labelled("Blind", root["blind"] or ("nothing: every node concerned gave signs throughout",), width)
    yield from _labelled("Do", root["first_aid"], width, style="green", wrap=False)
    yield from _labelled("Fix", root["fix"], width)


def _head(root: Form, width: int, shapes: Forms) -> Text:
    level = root["level"].upper()
    when = f"{clock(root['started'])}{_lasted(root)}{shapes.dot}confidence {root['confidence']:.2f}"
    title = root["summary"] or root["title"]
    line = Text.assemble((f" {level} ", LEVEL_STYLE.get(root["level"], "bold")), "  ", (title, "bold"))
    gap = width - line.cell_len - len(when)
    line.append(" " * gap if gap > 1 else "\n" + " " * (LABEL + 2))
    line.append(when, style="dim")
    return line


def clock(at: str) -> str:
    """The UTC time of day of an RFC 3339 time."""
    return words.clock(microseconds(at))


def _lasted(incident: Form) -> str:
    text = words.lasted(microseconds(incident["evidence"]["last"]) - microseconds(incident["started"]))
    return f", for {text}" + ("" if incident["ended"] is None else ", over")


def _symptoms(cause: Form, by_id: Mapping[str, Form], shapes: Forms, indent: str) -> Iterator[Text]:
    """What hangs below: incidents of one signature share a line."""
    grouped: dict[str, list[Form]] = defaultdict(list)
    for symptom in _below(cause, by_id):
        grouped[symptom["signature"]].append(symptom)
    widest = max((len(slug) for slug in grouped), default=0)
    for number, (slug, found) in enumerate(grouped.items()):
        is_last = number == len(grouped) - 1
        yield Text.assemble(
            indent, (shapes.last if is_last else shapes.branch, "dim"), (slug.ljust(widest), "cyan"), "  ", where(found), "  ",
            (_amount(found, cause), "dim"),
        )  # fmt: skip
        for incident in found:
            yield from _symptoms(incident, by_id, shapes, indent + ("   " if is_last else shapes.pipe))


def _below(cause: Form, by_id: Mapping[str, Form]) -> list[Form]:
    """What hangs directly below a cause, as far as it is still known."""
    return [by_id[identity] for identity in cause["symptoms"] if identity in by_id]


def where(found: Sequence[Form]) -> str:
    """The entities of incidents, as people write them: `shop/cart, shop/checkout`."""
    return words.few([place(incident) for incident in found])


def _amount(found: Sequence[Form], cause: Form) -> str:
    rows = sum(incident["evidence"]["rows"] for incident in found)
    covered = sum(
        share["coverage"] * incident["evidence"]["rows"]
        for incident in found
        for share in incident["causes"]
        if share["id"] == cause["id"]
    )
    part = f", {round(covered)} of them accounted for" if round(covered) < rows else ""
    return f"{rows} row{'s' if rows != 1 else ''} from {clock(min(incident['started'] for incident in found))}{part}"


def _why(root: Form, shapes: Forms) -> list[str]:
    lines = []
    for rule, number in sorted(root["evidence"]["counts"].items(), key=lambda item: -item[1]):
        first = next((line for line in root["evidence"]["lines"] if line["rule"] == rule), None)
        text = f"{number} x {root['evidence']['titles'].get(rule, rule)}"
        lines.append(f"{text}, first at {clock(first['at'])}: {words.flat(first['text'], EXCERPT)}" if first else text)
    lines.extend(
        f"{reason['title']} ({reason['rows']} rows){shapes.dot}{reason['confidence']:+.2f}"
        for reason in root["reasons"]
        if reason["confidence"] > 0
    )
    return lines


def _against(root: Form, by_id: Mapping[str, Form]) -> list[str]:
    """What speaks against the root, and what of its symptoms it does not account for."""
    lines = [
        f"{reason['title']} ({reason['rows']} rows), {reason['confidence']:+.2f}"
        for reason in root["reasons"]
        if reason["confidence"] <= 0
    ]
    for symptom in _below(root, by_id):
        covered = next((share["coverage"] for share in symptom["causes"] if share["id"] == root["id"]), 0.0)
        rows = symptom["evidence"]["rows"]
        rest = rows - round(covered * rows)
        if rest:
            lines.append(f"{rest} of {rows} rows of {symptom['signature']} {place(symptom)} are elsewhere or at another time")
    return lines


def _labelled(label: str, lines: Sequence[str], width: int, *, style: str = "", wrap: bool = True) -> Iterator[Text]:
    for number, line in enumerate(lines):
        head = Text((label if number == 0 else "").ljust(LABEL), style="bold")
        parts = list(_wrapped(line, width - LABEL, "")) if wrap else [Text(line)]
        for at, part in enumerate(parts):
            part.stylize(style)
            yield Text.assemble(head if at == 0 else " " * LABEL, part)


def _wrapped(text: str, width: int, indent: str) -> Iterator[Text]:
    line = indent
    for word in text.split():
        if len(line) + len(word) + 1 > width and line.strip():
            yield Text(line)
            line = indent
        line += (" " if line.strip() else "") + word
    if line.strip():
        yield Text(line)


def _near(incidents: Sequence[Form], out: Console) -> None:
    for incident in incidents:
        if incident["status"] == "near_miss":
            out.print(
                Text.assemble(
                    ("near miss  ", "dim"), (incident["signature"], "cyan"), f"  {place(incident)}  {clock(incident['started'])}"
                )
            )
