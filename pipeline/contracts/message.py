"""What a notification says, in plain structured words: every sink renders from this, so that the same facts stand in all.

No markup and no limits of a target: a sink escapes and cuts. Text that came from logs is one printable line already. It stands
beside the contract of sinks and not in the model because it reads a `Notification`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.contracts.sink import Notification
from pipeline.model import words
from pipeline.model.public import microseconds, rfc3339

LINES = 3
"""Lines of evidence shown for a claim."""
LONGEST = 300
"""Letters of a line of evidence."""
LONG_TEXT = 2000
DOT = " · "
LABEL = 9

Public = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason to believe it: the claim with its count, and the first lines that say so, each with its time of day."""

    claim: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said. `level` is the incident's, or `informational`; `over` that it has ended. `title` says what broke,
    `facts` in one line where, since when, for how long and how sure; `first_aid` are commands to paste (none when it is over).
    `origin` says which rule and incident this is. `body` are the texts of a digest, or what a `folded` one was called.
    """

    level: str
    over: bool
    title: str
    facts: str
    origin: str
    link: str | None = None
    first_aid: tuple[str, ...] = ()
    impact: str = ""
    symptoms: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    against: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    folded: bool = False


def of(notification: Notification) -> Message:
    """What a notification says."""
    if notification.event == "test":
        return _test(notification)
    if not notification.incident:
        return _digest(notification)
    if notification.event == "folded":
        return _folded(notification)
    incident, over = notification.incident, notification.event == "resolved"
    return Message(
        level=incident["level"],
        over=over,
        title=_title(incident, over=over),
        facts=_facts(incident, over=over),
        origin=_origin(incident),
        link=notification.link,
        first_aid=() if over else tuple(map(words.printable, incident["first_aid"])),
        impact=words.flat(incident["impact"], LONG_TEXT),
        symptoms=tuple(_symptoms(notification.symptoms)),
        evidence=tuple(_evidence(incident)),
        against=tuple(_against(incident)),
        blind=tuple(map(words.printable, incident["blind"])),
        fix=tuple(map(words.printable, incident["fix"])),
    )


def text(message: Message) -> str:
    """The message as plain lines: title, facts and first aid are the first."""
    lines = [message.title, message.facts, *message.body]
    lines += _labelled("Do", message.first_aid)
    lines += _labelled("Impact", [message.impact] if message.impact else [])
    lines += _labelled("Symptoms", message.symptoms)
    lines += _labelled("Why", [line for found in message.evidence for line in (found.claim, *(f"  {at}" for at in found.lines))])
    lines += _labelled("Not", message.against)
    lines += _labelled("Blind", message.blind)
    lines += _labelled("Fix", message.fix)
    lines += _labelled("From", [message.origin, *([message.link] if message.link else [])])
    return "\n".join(lines)


def payload(notification: Notification) -> dict[str, Any]:
    """The notification for machines, as JSON can hold it: `type` (incident.opened, incident.updated, incident.resolved,
    incident.folded, headwater.digest, headwater.resolved when a digest's day is over, headwater.test), `timestamp` (RFC 3339)
    and `data`: the public form of the incident with `thread`, `revision`, `link`, `labels` and its symptoms as a `tree` without
    their own evidence; when it is folded, `part_of` is what it is a part of.
    """
    about: dict[str, Any] = {
        "thread": notification.thread,
        "revision": notification.revision,
        "link": notification.link,
        "labels": dict(notification.labels),
    }
    if notification.part_of is not None:
        about["part_of"] = {
            key: words.flat(notification.part_of[key], LONGEST) for key in ("id", "signature", "title", "level", "summary")
        }
    plain = not notification.incident
    tree = {"tree": [_brief(symptom) for symptom in notification.symptoms]}
    data = {"text": text(of(notification))} if plain else dict(notification.incident) | tree
    return {
        "type": f"{'headwater' if plain else 'incident'}.{notification.event}",
        "timestamp": rfc3339(notification.at),
        "data": about | data,
    }


def where(notification: Notification) -> str:
    """The entity that the notification is about."""
    return _place(notification.incident) if notification.incident else "Headwater"


def _test(notification: Notification) -> Message:
    return Message(
        level="informational",
        over=False,
        title="TEST: Headwater can reach you here",
        facts=f"{_day(notification.at)}{DOT}nothing is wrong and nothing is to be done",
        origin="headwater notify test",
        link=notification.link,
    )


def _digest(notification: Notification) -> Message:
    number, over = len(notification.digest), notification.event == "resolved"
    many = f"{number} notification{'' if number == 1 else 's'} in one"
    return Message(
        level="informational",
        over=over,
        title=f"{'RESOLVED: ' if over else ''}DIGEST: {many}: more came than may be sent singly",
        facts=_day(notification.at),
        origin=f"headwater{DOT}digest {notification.thread}",
        link=notification.link,
        body=tuple(words.flat(line, LONGEST) for line in notification.digest),
    )


def _folded(notification: Notification) -> Message:
    incident = notification.incident
    return Message(
        level=incident["level"],
        over=True,
        title=f"PART OF: {_summary(notification.part_of or incident)}",
        facts=_facts(incident, over=False),
        origin=_origin(incident),
        link=notification.link,
        body=(_title(incident, over=False),),
        folded=True,
    )


def _origin(incident: Public) -> str:
    return f"{incident['signature']} v{incident['rule']['version']}{DOT}incident {incident['id']}"


def _summary(incident: Public) -> str:
    return words.flat(incident["summary"] or incident["title"], LONGEST)


def _title(incident: Public, *, over: bool) -> str:
    ending = "WITHDRAWN, later evidence speaks against it" if incident.get("withdrawn") else "RESOLVED"
    return f"{ending if over else incident['level'].upper()}: {_summary(incident)}"


def _facts(incident: Public, *, over: bool) -> str:
    began, last = microseconds(incident["started"]), microseconds(incident["evidence"]["last"])
    ended = microseconds(incident["ended"]) if incident["ended"] else last
    length = words.lasted((ended if over else last) - began)
    when = (
        f"from {_day(began)} to {words.clock(ended)} UTC{DOT}lasted {length}" if over else f"since {_day(began)}{DOT}for {length}"
    )
    cluster = words.flat(incident["cluster"], LONGEST) or "not named"
    return DOT.join([_place(incident), when, f"confidence {incident['confidence']:.2f}", f"cluster {cluster}"])


def _day(at: int) -> str:
    return f"{words.day(at)} {words.clock(at)} UTC"


def _place(incident: Public) -> str:
    return words.flat(words.place(incident["group"], incident["cluster"]), LONGEST) or "a place without a name"


def _symptoms(symptoms: Sequence[Public]) -> Iterator[str]:
    """Symptoms of one signature below the same kinds of causes share a line."""
    groups: dict[tuple[str, ...], list[Public]] = {}
    path: tuple[str, ...] = ()
    for symptom in symptoms:
        path = (*path[: symptom["depth"] - 1], symptom["signature"])
        groups.setdefault(path, []).append(symptom)
    rank = {path: number for number, path in enumerate(groups)}
    for path in sorted(groups, key=lambda path: [rank.get(path[:end], 0) for end in range(1, len(path) + 1)]):
        yield "  " * (len(path) - 1) + _together(groups[path])


def _together(symptoms: Sequence[Public]) -> str:
    rows = sum(symptom["evidence"]["rows"] for symptom in symptoms)
    covered = sum(_covered(symptom) for symptom in symptoms)
    places = words.few([_place(symptom) for symptom in symptoms])
    began = words.clock(min(microseconds(symptom["started"]) for symptom in symptoms))
    part = f", {covered} of them accounted for" if covered < rows else ""
    return f"{words.flat(symptoms[0]['title'], LONGEST)}: {places}{DOT}{_rows(rows)} from {began}{part}"


def _covered(symptom: Public) -> int:
    """The rows that the incident above accounts for; all of them where nothing is said about it."""
    shares: list[float] = [cause["coverage"] for cause in symptom["causes"] if cause["id"] == symptom["cause"]]
    rows: int = symptom["evidence"]["rows"]
    return round(rows * (shares[0] if shares else 1.0))


def _rows(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"


def _evidence(incident: Public) -> Iterator[Evidence]:
    evidence = incident["evidence"]
    for rule, number in sorted(evidence["counts"].items(), key=lambda item: (-item[1], item[0])):
        lines = [line for line in evidence["lines"] if line["rule"] == rule][:LINES]
        claim = f"{number} x {words.flat(evidence['titles'].get(rule, rule), LONGEST)}"
        yield Evidence(claim, tuple(_line(line) for line in lines))
    for reason in incident["reasons"]:
        if reason["confidence"] > 0:
            yield Evidence(_reason(reason), ())


def _line(line: Public) -> str:
    return f"{words.clock(microseconds(line['at']))}  {line['source']}  {words.flat(line['text'], LONGEST)}"


def _against(incident: Public) -> Iterator[str]:
    return (_reason(reason) for reason in incident["reasons"] if reason["confidence"] <= 0)


def _reason(reason: Public) -> str:
    return f"{words.flat(reason['title'], LONGEST)} ({_rows(reason['rows'])}), confidence {reason['confidence']:+.2f}"


def _brief(symptom: Public) -> dict[str, Any]:
    keys = ("id", "depth", "signature", "title", "level", "status", "group", "started", "ended", "cause", "causes", "summary")
    return {key: symptom[key] for key in keys} | {"rows": symptom["evidence"]["rows"]}


def _labelled(label: str, lines: Sequence[str]) -> list[str]:
    return [f"{(label if number == 0 else '').ljust(LABEL)} {line}" for number, line in enumerate(lines)]
