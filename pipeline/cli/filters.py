"""What people write to say which incidents, as a query."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

from pipeline.contracts.store import Query
from pipeline.errors import UsageError, nearest
from pipeline.model.incident import Status

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(?:\d+[smhdw])+")


def query(*, since: str | None, until: str | None, now: datetime | None = None, **filters: str | int | bool | None) -> Query:
    """The query; `filters` are the other fields of it. Raises UsageError for a word that is none, with the nearest."""
    from pipeline.runtime.routes import NAMES
    from pipeline.signatures.models import LEVELS, Layer

    for name, words in (("layer", get_args(Layer)), ("level", LEVELS), ("status", get_args(Status))):
        _one_of(f"--{name}", filters.get(name), words)
    key, is_one, value = str(filters.get("entity") or "").partition("=")
    if is_one:  # the words of silences and routes will do
        filters["entity"] = f"{ {label: name for name, label in NAMES.items()}.get(key, key) }={value}"
    moment = now or datetime.now(UTC)
    return Query(since=_time("--since", since, moment), until=_time("--until", until, moment), **filters)  # type: ignore[arg-type]


def _one_of(option: str, word: object, words: Sequence[str]) -> None:
    if word is not None and word not in words:
        hint = nearest(str(word), words) or f"there are {', '.join(words)}"
        raise UsageError(f"{option} {word}: there is no such {option.removeprefix('--')}; {hint}")


def _time(option: str, text: str | None, now: datetime) -> int | None:
    """Microseconds since 1970 of `2h`, `1d12h` (ago), or RFC 3339 (UTC where no zone is said)."""
    if text is None:
        return None
    try:
        if _SPAN.fullmatch(text):
            spans = re.findall(r"(\d+)([smhdw])", text)
            at = now - timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in spans))
        else:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {text}: that is no time; give a span back from now (90m, 2h, 7d) or RFC 3339 (2026-11-23T04:40:00Z)"
        ) from error
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
