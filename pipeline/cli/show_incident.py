"""One incident on the terminal: the tree, what happened in order of time, how it developed, what people said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline import contracts
from pipeline.cli import stored, stores, tree
from pipeline.contracts.store import Feedback, Store, Stored
from pipeline.errors import ConfigError, UsageError
from pipeline.model import public, words
from pipeline.runtime import notify

Form = Mapping[str, Any]

WIDE = 160
"""Letters of an evidence line that are shown."""
LONGEST = 100
"""Rows of a timeline that are shown; JSON has them all."""
_STATUS = {"near_miss": "no more than a near miss", "firing": "fires", "resolved": "resolved"}
BURST = 10 * 1_000_000
"""Microseconds within which lines of one kind are told as one."""


@dataclass(slots=True)
class Moment:
    """Evidence of one kind, of one incident, within a burst: the first line as it was written, and how many there are."""

    place: str
    line: Form
    at: int
    count: int = 1


def show(store: Store, identity: str, output: str) -> None:
    """Print it. Raises UsageError for an id that is none, with the nearest."""
    found = stores.incident(store, identity)
    below = _below(store, found.incident)
    if output == "json":
        revisions = [{"revision": n, "at": public.rfc3339(at), "incident": form} for n, at, form in found.revisions]
        symptoms = [dict(form) for form in below.values()]
        stored.print_json({**stored.as_dict(found), "symptoms": symptoms, "revisions": revisions})
        return
    out = tree.console()
    _print_place(store, found, out)
    for line in tree.tree(found.incident, below, out.width, tree.forms(out)):
        out.print(line)
    _section("What happened", list(_timeline([found.incident, *below.values()])), out)
    _section("How it developed", list(_developed(found)), out)
    _section("What people said", [_said(said) for said in found.feedback], out)


def as_sent(store: Store, identity: str, sink: str) -> None:
    """Print what a sink would send of an incident as it stands. Raises UsageError for a sink that does not exist."""
    try:
        module = contracts.find("sinks", sink)
    except ConfigError as error:
        raise UsageError(f"--as {sink}: {error}") from error
    found = stores.incident(store, identity)
    form = found.incident
    print(
        module.render(
            notify.notification(
                form,
                _below(store, form),
                thread=found.thread,
                event=notify.event(form, found.revision),
                revision=found.revision,
                at=public.microseconds(form["evidence"]["last"]),
            )
        )
    )


def _below(store: Store, form: Form) -> dict[str, Form]:
    """Everything that hangs below an incident, by the ids it is named by."""
    found: dict[str, Form] = {}
    waiting = list(form["symptoms"])
    while waiting:
        identity = waiting.pop(0)
        if identity not in found and (symptom := store.incident(identity)) is not None:
            found[identity] = symptom.incident
            waiting += symptom.incident["symptoms"]
    return found


def _print_place(store: Store, found: Stored, out: Console) -> None:
    """Which it is, and what it hangs below."""
    form = found.incident
    out.print(Text("  ").join([*stored.head(found), Text(stored.state(form))]))
    for share in form["causes"]:
        cause = store.incident(share["id"])
        if cause is not None:
            what = f"{share['coverage']:.0%} of it accounted for by {cause.incident['signature']} {public.place(cause.incident)}"
            out.print(Text(f"{what}: headwater show {cause.id[: stored.ID]}", "bold"))


def _section(title: str, lines: Sequence[Text], out: Console) -> None:
    if lines:
        out.print()
        out.print(Text(title, "bold"))
        for line in lines:
            out.print(line)


def _timeline(forms: Sequence[Form]) -> Iterator[Text]:
    """The evidence lines of all sources in one column of time; what only repeats itself is counted."""
    # A line that several incidents hold for evidence is told once, with the place of the last: symptoms know better where it was.
    held = {
        (line["at"], line["origin"], line["text"]): (number, line)
        for number, form in enumerate(forms)
        for line in form["evidence"]["lines"]
    }
    moments: list[Moment] = []
    latest: dict[tuple[int, str], Moment] = {}
    for (time, *_), (number, line) in sorted(held.items(), key=lambda one: (one[0][0], one[1][0])):
        at, kind = public.microseconds(time), (number, line["rule"])
        before = latest.get(kind)
        if before and at - before.at <= BURST:
            before.count += 1
        else:
            latest[kind] = Moment(public.place(forms[number]), line, at)
            moments.append(latest[kind])
    stop = (max((len(one.line["source"]) for one in moments), default=0), max((len(one.place) for one in moments), default=0))
    yield from (_moment(one, *stop) for one in moments[:LONGEST])
    if len(moments) > LONGEST:
        yield Text(f"and {len(moments) - LONGEST} more; --output json has them all", "dim")


def _moment(moment: Moment, source: int, place: int) -> Text:
    line = moment.line
    more = f"  ({moment.count} kept)" if moment.count > 1 else ""
    time = f"{tree.clock(line['at'])}.{line['at'][20:23]}"
    head = f"{time}  {line['source']:<{source}}  "
    return Text.assemble(head, (f"{moment.place:<{place}}", "cyan"), "  ", words.flat(line["text"], WIDE), (more, "dim"))


def _developed(found: Stored) -> Iterator[Text]:
    """What each revision changed."""
    before: Form | None = None
    for revision, at, form in found.revisions:
        yield Text(
            f"{stored.when(public.rfc3339(at) or '')}  {revision:>3}  {', '.join(_changes(before, form)) or 'evidence grew'}"
        )
        before = form


def _changes(before: Form | None, form: Form) -> Iterator[str]:
    if before is None:
        begun = "near miss" if form["status"] == "near_miss" else "opened"
        yield f"{begun}: {form['level']}, confidence {form['confidence']:.2f}, {form['evidence']['rows']} rows"
        return
    if before["status"] != form["status"]:
        yield _STATUS[form["status"]]
    for name in ("level", "summary"):
        if before[name] != form[name]:
            yield f"{name} {before[name]} -> {form[name]}"
    if round(before["confidence"], 2) != round(form["confidence"], 2):
        yield f"confidence {before['confidence']:.2f} -> {form['confidence']:.2f}"
    if (began := tree.clock(form["started"])) != (thought := tree.clock(before["started"])):
        yield f"began at {began}, not {thought}"
    if before["cause"] != form["cause"]:
        yield f"now below {form['cause'][: stored.ID]}" if form["cause"] else "no longer below another"
    if more := len(set(form["symptoms"]) - set(before["symptoms"])):
        yield f"{more} symptom{'s' if more != 1 else ''} more"
    if fewer := len(set(before["symptoms"]) - set(form["symptoms"])):
        yield f"{fewer} symptom{'s' if fewer != 1 else ''} fewer"


def _said(said: Feedback) -> Text:
    cause = f"it was {said.cause}. " if said.cause else ""
    return Text(f"{stored.when(public.rfc3339(said.at) or '')}  {said.verdict}, says {said.author}. {cause}{said.note}".rstrip())
