"""From incidents to notifications: what is said of a root and of everything below it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.contracts.sink import Event, Notification
from pipeline.runtime import routes

Form = Mapping[str, Any]


def notification(  # noqa: PLR0913 (what a notification is made of, by keyword)
    root: Form, by_id: Mapping[str, Form], *, thread: str, event: Event, revision: int, at: int, link: str | None = None
) -> Notification:
    """What is to be said of a root incident in its public form; `by_id` holds what hangs below it, by the ids it is named by.

    The key tells this state of the incident from every other: a repeat has the same, and nothing else has.
    """
    return Notification(
        key=f"{thread}.{revision}.{event}",
        thread=thread,
        event=event,
        at=at,
        labels=routes.labels(root),
        incident=root,
        symptoms=tuple(_below(root, by_id, 1, {root["id"]})),
        revision=revision,
        link=f"{link.rstrip('/')}/{root['id']}" if link else None,
    )


def trial(at: int) -> Notification:
    """A notification that says that nothing is wrong, to try a receiver out; `at` in microseconds since 1970."""
    labels = {"severity": "informational"}
    return Notification(key=f"test-{at}.test", thread=f"test-{at}", event="test", at=at, labels=labels, incident={})


def event(form: Form, revision: int) -> Event:
    """What a state of an incident is to people: its beginning, a change, its end."""
    if form["status"] == "resolved":
        return "resolved"
    return "opened" if revision == 1 else "updated"


def _below(cause: Form, by_id: Mapping[str, Form], depth: int, seen: set[str]) -> Iterator[Form]:
    """What hangs below, in the order of the tree, each once."""
    for identity in cause["symptoms"]:
        symptom = by_id.get(identity)
        if symptom is None or identity in seen:
            continue
        seen.add(identity)
        yield {**symptom, "depth": depth}
        yield from _below(symptom, by_id, depth + 1, seen)
