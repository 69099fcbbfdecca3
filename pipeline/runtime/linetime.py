"""The time of a single raw record, roughly: enough to merge files by time before they are parsed.

Only for the merge (a handful of records a block); events get their times from the parsers.
"""

import re
from datetime import UTC, datetime

from pipeline.model.stream import Stream

_RFC = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_FIRST = re.compile(_RFC)
_AT = re.compile(rb'"at"\s*:\s*"(' + _RFC + rb')"')
_EVENT = re.compile(rb'"(?:lastObservedTime|lastTimestamp|eventTime|firstTimestamp|creationTimestamp)"\s*:\s*"(' + _RFC + rb')"')
_EPOCH = re.compile(
    rb'"(?:__REALTIME_TIMESTAMP|date|@timestamp|timeUnixNano|timestamp)"\s*:\s*"?(\d{10,19})(\.\d+)?|\[\s*"(\d{19})"'
)


def of(record: bytes, stream: Stream) -> int | None:
    """Microseconds since 1970, or None where nothing in the record looks like a time."""
    if stream.envelope == "cri":
        return _rfc3339(record.split(b" ", 1)[0])
    if stream.envelope == "kmsg":
        return _kernel(record, stream)
    if stream.format in ("k8s.objects", "counters"):
        match = _AT.search(record)
        return _rfc3339(match[1]) if match else None
    if stream.format == "k8s.events":
        found = [at for text in _EVENT.findall(record) if (at := _rfc3339(text)) is not None]
        return max(found, default=None)
    return _anything(record)


def _anything(record: bytes) -> int | None:
    head = record[:65536]
    if match := _EPOCH.search(head):
        digits = (match[1] or match[3])[:16]
        return int(digits.ljust(16, b"0"))
    found = _FIRST.search(head)
    return _rfc3339(found[0]) if found else None


def _kernel(record: bytes, stream: Stream) -> int | None:
    parts = record.split(b";", 1)[0].split(b",")
    if stream.boot_time is None or len(parts) < 3 or not parts[2].isdigit():  # noqa: PLR2004 (prio,seq,usec)
        return None
    return round(stream.boot_time.timestamp() * 1_000_000) + min(int(parts[2]), 10**16)


def _rfc3339(text: bytes) -> int | None:
    try:
        plain = re.sub(r"(\.\d{6})\d+", r"\1", text.decode().replace("Z", "+00:00"))
        parsed = datetime.fromisoformat(plain)
    except (ValueError, UnicodeDecodeError):
        return None
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    try:
        return round(parsed.timestamp() * 1_000_000)
    except (OverflowError, OSError):
        return None
