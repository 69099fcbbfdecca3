"""Kubernetes Events out of the documents that `kubectl get events` writes with `-o json` and `-o yaml`.

Such a document spans lines, so it is no stream of records: whoever reads a file whole (the scan command) asks here
first and goes on with one JSON text an event, which the format `k8s.events` reads.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError, YAMLWarning

_REFERENCES: Final = ("involvedObject", "regarding")
_LISTS: Final = ("List", "EventList")
# The YAML loader answers damaged text with whatever its insides run into: an unknown %YAML version is a KeyError.
_REFUSALS: Final = (
    *(YAMLError, YAMLWarning, ArithmeticError, AssertionError, AttributeError),
    *(LookupError, RuntimeError, TypeError, ValueError),
)


class _Unaliased(Composer):
    """Refuses anchors and aliases: kubectl writes none, and a few lines of them unfold to any size as JSON."""

    def compose_node(self, parent: object, index: object) -> object:
        event = self.parser.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise ComposerError(None, None, "anchor or alias", event.start_mark)
        return cast(object, super().compose_node(parent, index))


def _json(text: str) -> Iterator[object]:
    """All the JSON values of a text, one after the other, as `kubectl get -w -o json` writes them."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        while text[at : at + 1].isspace():
            at += 1


def _yaml(text: str) -> Iterator[object]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Unaliased
    yield from yaml.load_all(text)


def _is_event(value: Mapping[str, Any]) -> bool:
    return any(isinstance(value.get(key), Mapping) for key in _REFERENCES)


def _events(value: object) -> Iterator[Mapping[str, Any]]:
    """The events in one document: itself, bare or as a watch record, or the items of a list."""
    if not isinstance(value, Mapping):
        return
    inner, items = value.get("object"), value.get("items")
    if _is_event(value) or (isinstance(inner, Mapping) and _is_event(inner)):
        yield value
    elif isinstance(items, list):
        yield from (item for item in items if isinstance(item, Mapping) and _is_event(item))


def _text(event: Mapping[str, Any]) -> str:
    def other(value: object) -> str:
        return value.isoformat() if isinstance(value, date) else str(value)

    # A JSON text may name half a surrogate pair, which no UTF-8 column can hold.
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=other).encode(errors="replace").decode()


def events_from_document(text: str) -> list[str] | None:
    """One JSON text an Event, in order, from a JSON or YAML text of Events or lists of them; None if it has none.

    An empty list of Events gives an empty list. A cut document gives None: its lines can still be read as text.
    """
    start = text.lstrip("\ufeff \t\r\n")
    if not start.startswith("{") and not any(f"{key}:" in start for key in (*_REFERENCES, "items")):
        return None
    try:
        documents = list(_json(start.rstrip()) if start.startswith("{") else _yaml(start))
        found = [_text(event) for document in documents for event in _events(document)]
    except _REFUSALS:
        return None
    empty = any(isinstance(d, Mapping) and d.get("kind") in _LISTS and not d.get("items") for d in documents)
    return found if found or empty else None
