"""Silences from the command line into the store: what is held back from everybody, by whom, until when."""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.text import Text

from pipeline import config as configuration
from pipeline.cli import stored, tree
from pipeline.contracts.store import Matcher, Query, Silence, Store
from pipeline.errors import UsageError, nearest
from pipeline.model import public
from pipeline.runtime import routes

LONGEST = 366 * 86_400
"""Seconds; what nobody ever wants to hear of belongs into the route."""
LOOKED_AT = 1000
"""Newest incidents whose labels are known."""


@dataclass(frozen=True, slots=True)
class Said:
    """The words of the command."""

    span: str
    author: str
    comment: str


def show(store: Store, output: str) -> None:
    """Print those that have not ended."""
    found = store.silences(_now())
    if output == "json":
        for silence in found:
            stored.print_json(_as_dict(silence))
        return
    out = tree.console()
    stored.table(map(_row, found), out)
    if not found:
        out.print("Nothing is silenced.")


def add(store: Store, texts: Sequence[str], said: Said) -> None:
    """Keep one, and say what it holds back at present. Raises UsageError."""
    matchers = tuple(_matcher(text) for text in texts)
    if _hold(matchers, {}):
        raise UsageError(f"silencing {_text(matchers)}: that holds for everything; name a label that must be there")
    now = _now()
    silence = Silence(uuid.uuid4().hex, matchers, now, now + _span(said.span), said.author, said.comment)
    store.put_silence(silence)
    print(f"silenced until {_until(silence)}: {_text(matchers)}; `headwater silences end {silence.id[: stored.ID]}` ends it")
    incidents = [(found.incident, routes.labels(found.incident)) for found in store.incidents(Query(roots=True, limit=LOOKED_AT))]
    held = [form for form, labels in incidents if form["status"] == "firing" and _hold(matchers, labels)]
    print(
        "\n".join(f"holds back {form['signature']} {public.place(form)}" for form in held)
        or "nothing that goes on now is held back"
    )
    known = {*routes.WELL_KNOWN, *(name for _, labels in incidents for name in labels)}
    for name in sorted({matcher.name for matcher in matchers} - known):
        print(f"no incident has a label '{name}' so far; {nearest(name, known) or 'there are ' + ', '.join(sorted(known))}")


def end(store: Store, identity: str) -> None:
    """End one now. Raises UsageError for what is not the beginning of one id."""
    now = _now()
    found = [silence for silence in store.silences(now) if silence.id.startswith(identity)]
    if len(found) != 1:
        begun = f"{len(found)} begin so: give more letters" if found else "there is none: `headwater silences list` names them"
        raise UsageError(f"ending the silence {identity}: {begun}")
    store.put_silence(replace(found[0], ends=now))
    print(f"ended: {_text(found[0].matchers)}")


def _hold(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    return all(routes.holds(matcher, labels) for matcher in matchers)


def _matcher(text: str) -> Matcher:
    try:
        return configuration.matcher(text)
    except ValueError as error:
        raise UsageError(f"silencing: {error}") from error


def _span(text: str) -> int:
    """Microseconds."""
    try:
        seconds = configuration.seconds(text)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"--for {text}: a silence lasts longer than nothing and at most a year; for good, change the route")
    return round(seconds * 1_000_000)


def _now() -> int:
    return time.time_ns() // 1000


def _until(silence: Silence) -> str:
    return f"{stored.when(public.rfc3339(silence.ends) or '')} UTC"


def _text(matchers: Iterable[Matcher]) -> str:
    return " ".join(map(_written, matchers))


def _written(matcher: Matcher) -> str:
    return f'{matcher.name}{matcher.operator}"{matcher.value}"'


def _row(silence: Silence) -> list[Text]:
    cells = (silence.id[: stored.ID], f"until {_until(silence)}", _text(silence.matchers), silence.author, silence.comment)
    return [Text(cell) for cell in cells]


def _as_dict(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "matchers": [_written(matcher) for matcher in silence.matchers],
        "starts": public.rfc3339(silence.starts),
        "ends": public.rfc3339(silence.ends),
        "author": silence.author,
        "comment": silence.comment,
    }
