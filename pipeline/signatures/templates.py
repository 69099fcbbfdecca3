"""Templates in annotations and first aid: `{{ key }}` is replaced by a value. Nothing is computed, nothing can run.

Keys: the incident's group keys and entity keys, columns listed under `fields`, and
`count`, `count.RULE`, `cluster`, `level`, `message` (the first line of evidence).
"""

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_PLAIN = re.compile(r"[\w./\[:][\w./:@%+=,\[\]-]*", re.ASCII)
FIXED = frozenset({"count", "cluster", "level", "message"})


def keys(template: str) -> list[str]:
    """The keys a template names."""
    return _PLACE.findall(template)


def render(template: str, values: Mapping[str, str]) -> str:
    """The text with values in it; a key without a value stays visible as `<key>`, to be filled in by hand."""
    return _PLACE.sub(lambda match: values.get(match.group(1)) or f"<{match.group(1)}>", template)


def command(template: str, values: Mapping[str, str]) -> str:
    """As `render`, for commands that people paste into a shell: a value that is more than a plain name stays out of it.

    Values come from log lines and anybody's objects. Quoting was refused: a template may have quotes around the place already,
    and a quoted quote would end them.
    """
    return render(template, {key: value for key, value in values.items() if _PLAIN.fullmatch(value)})
