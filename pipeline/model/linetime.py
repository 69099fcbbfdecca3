"""The time of a single raw record, roughly: enough to merge files by time, or to pace a recording, before anything is parsed.

Only for a handful of records a block; events get their times from the parsers.
"""

import re
from datetime import UTC, datetime

from pipeline.model.stream import RawBatch, Stream

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


def first(batch: RawBatch) -> int | None:
    """The time of the first record of a batch that has one, of the first few."""
    begin = 0
    for _ in range(20):
        end = batch.data.find(b"\n", begin) + 1 or len(batch.data)
        at = of(batch.data[begin:end], batch.stream)
        if at is not None or end == len(batch.data):
            return at
        begin = end
    return None


def last(batch: RawBatch) -> int | None:
    """The time of the last record of a batch that has one, of the last few."""
    end = len(batch.data)
    for _ in range(20):
        begin = batch.data.rfind(b"\n", 0, max(0, end - 1)) + 1
        at = of(batch.data[begin:end], batch.stream)
        if at is not None or begin == 0:
            return at
        end = begin
    return None


def split(batch: RawBatch, horizon: int) -> int:
    """The byte at which records later than the horizon begin, by bisection (times that run backwards make it rough)."""
    low, high = 0, len(batch.data)
    while low < high:
        middle = batch.data.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = batch.data.find(b"\n", middle) + 1 or len(batch.data)
        at = of(batch.data[middle:end], batch.stream)
        if at is None or at <= horizon:
            low = end
        else:
            high = middle
    while low < len(batch.data) and batch.data[low : low + 1] == b" ":  # a kernel record keeps its continuation
        low = batch.data.find(b"\n", low) + 1 or len(batch.data)
    return low


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
