"""What envelopes share: the row they give, records out of push bodies, JSON in bulk, names out of labels and paths.

All of it works on whole columns, and no bad record spoils its neighbours. Wire shapes: INTEROP section 2.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from pipeline.model.columns import TIME, UNWRAPPED
from pipeline.parsers import text as texts

LABELS: Final = (
    *("app.kubernetes.io/name", "app_kubernetes_io/name", "app_kubernetes_io_name"),
    *("k8s-app", "k8s_app", "app"),
)
"""The labels that name an app, the recommended one first; shippers may turn dots (and all else) into underscores."""

_EVENT: Final = r'^\s*\{(?s:.*)"(?:involvedObject|regarding)"\s*:\s*\{'
_POD_FILE: Final = r"pods[./]([^_/]+)_([^_/]+)_([0-9a-f-]{32,36})[./]([^/]+)[./]\d+\.log"
_CONTAINER_FILE: Final = r"containers[./]([^_/]+)_([^_/]+)_([^/]+)-[0-9a-f]{12,64}\.log"
_CENTURIES: Final = 10**16
"""Microseconds; a larger uptime is a broken record, and the sum with the boot time could overflow."""

_DEEP: Final = 128
"""Levels of nesting that `json_path_match` refuses."""

_BLOCK: Final = 1024
"""Records that are read again, strictly, where one is broken."""

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)


def strings(*names: str) -> pl.Struct:
    """A struct of String fields. Decoding takes any JSON value as a String, so a field of unsure type is one."""
    return pl.Struct(dict.fromkeys(names, pl.String()))


def unwrapped(frame: pl.DataFrame, **given: pl.Expr) -> pl.DataFrame:
    """The frame's rows with exactly the columns `UNWRAPPED`; those not `given` are null, but `line` numbers the rows.

    Columns are given by name, with `_` for `.`, and `time` for `@timestamp`.
    """
    exprs = {"line": pl.int_range(pl.len(), dtype=pl.UInt32), **given}
    return frame.select(exprs.get(_argument(name), pl.lit(None)).cast(dtype).alias(name) for name, dtype in UNWRAPPED.items())


def _argument(column: str) -> str:
    return "time" if column == "@timestamp" else column.replace(".", "_")


def plausible(time: pl.Expr) -> pl.Expr:
    """Null outside 1970 to 2261: no log is that old, and Python cannot hold the years that Polars reads."""
    return pl.when(time.is_between(_EARLIEST, _LATEST, closed="left")).then(time)


def rfc3339(text: pl.Expr) -> pl.Expr:
    """An RFC 3339 time (any zone, any fraction) as Datetime(us, UTC), cut to the microsecond; null where it is none.

    Nearly all end in `Z` and have six digits or more of fraction: their second is one of few distinct texts, which
    Polars converts once, and their microseconds are a slice. The rest goes the slow way (HOTPATH section 2).
    """
    second = (
        pl.when(text.str.ends_with("Z"))
        .then(text.str.head(19))
        .str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    )
    fast = second.cast(pl.Int64()) + text.str.slice(20, 6).cast(pl.Int32(), strict=False)
    slow = pl.when(fast.is_null()).then(text).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    return plausible(pl.coalesce(fast.cast(TIME), slow))


def moments(*candidates: pl.Series) -> pl.Series:
    """Per row the first text that is a time: RFC 3339, else a relative of it or a number counting from 1970.

    Named `moment`. Each step looks only at what the one before left, most often nothing: as one expression over all
    candidates it costs 60 times as much.
    """
    time = pl.select(rfc3339(pl.lit(candidates[0]))).to_series()
    for read in (rfc3339, texts.instant):
        for text in candidates:
            missing = time.is_null().arg_true()
            if len(missing) and text.null_count() < len(text):
                found = text.gather(missing).to_frame("text").select(read(pl.col("text")))
                time = time.scatter(missing, found.to_series())
    return time.alias("moment")


def since_boot(usec: pl.Expr, boot_time: datetime | None) -> pl.Expr:
    """Microseconds since boot (Int64) as Datetime(us, UTC); null where they are absurd or the boot time is unknown."""
    if boot_time is None:
        return pl.lit(None, dtype=TIME)
    aware = boot_time if boot_time.tzinfo else boot_time.replace(tzinfo=UTC)
    epoch = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return plausible(pl.when(usec < _CENTURIES).then(usec + epoch).cast(TIME))


def records(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns `line` (number of the input record) and `record`: a JSON array counts as its elements, each verbatim.

    Python finds the elements' bounds, at about 2.5 us each; exploding a decoded list costs 1.6, but loses the text of
    an element, and a Kubernetes event is handed on as text. An empty or broken array stays one record.
    """
    rows = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("line"), "record")
    body = pl.col("record").str.strip_chars_start().str.starts_with("[")
    if not rows.select(body.any()).item():
        return rows
    elements = [_elements(text) for text in rows.filter(body)["record"]]
    bodies = rows.filter(body).with_columns(pl.Series("record", elements, dtype=pl.List(pl.String())))
    return pl.concat([rows.filter(~body), bodies.explode("record")]).sort("line", maintain_order=True)


def _elements(body: str) -> list[str]:
    scan = json.JSONDecoder().raw_decode
    found: list[str] = []
    try:
        at = _beyond(body, _beyond(body, 0, "") + 1, "")
        while body[at] != "]":
            _, end = scan(body, at)
            found.append(body[at:end])
            at = _beyond(body, end, ",")
    except (ValueError, IndexError, RecursionError):
        return [body]
    return found if found and not body[at + 1 :].strip() else [body]


def _beyond(body: str, at: int, also: str) -> int:
    while body[at] in " \t\r\n" or body[at] == also:
        at += 1
    return at


def dispatched(rows: pl.DataFrame, kind: pl.Expr, readers: Mapping[str, Callable[[pl.DataFrame], pl.DataFrame]]) -> pl.DataFrame:
    """Rows of mixed shapes, each read by the reader of its kind (a row of `UNWRAPPED` a row), in the old order."""
    numbered = rows.with_columns(kind.alias("kind"), pl.int_range(pl.len()).alias("order"))
    parts = [numbered.filter(kind=name) for name in readers]
    read = [
        reader(part).with_columns(part["order"])
        for reader, part in zip(readers.values(), parts, strict=True)
        if not part.is_empty() or rows.is_empty()
    ]
    return pl.concat(read).sort("order").drop("order")


def decoded(record: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """JSON objects as the columns of `schema`, one row a record; what is no object, or of another type, is null.

    NDJSON with `ignore_errors` forgives types, not syntax: one broken line fails its block. There a stricter reader
    (`json_path_match`) picks the lines that are surely broken; what it may wrongly refuse (half surrogate pairs, deep
    nesting) is tried by halving, so that a row reads the same whatever stands beside it.
    """
    text = record.str.strip_chars()
    lines = _kept(text, text.str.starts_with("{") & text.str.ends_with("}"))
    if lines.str.contains("\n", literal=True).any():
        lines = lines.str.replace_all("\n", " ", literal=True)
    whole = _read(lines, schema)
    if whole is not None:
        return whole
    blocks = (lines.slice(start, _BLOCK) for start in range(0, len(lines), _BLOCK))
    return pl.concat([_repaired(block, schema) for block in blocks])


def _repaired(lines: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    whole = _read(lines, schema)
    if whole is not None:
        return whole
    doubtful = lines.str.contains(r"\\u[dD][89a-fA-F]") | (lines.str.count_matches(r"[\[{]") >= _DEEP)
    return _halved(_kept(lines, lines.str.json_path_match("$").is_not_null() | doubtful), schema)


def _kept(lines: pl.Series, good: pl.Series) -> pl.Series:
    return lines.zip_with(good, pl.Series(["{}"]))


def _read(lines: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
    if lines.is_empty():
        return pl.DataFrame(schema=schema)
    try:
        frame = pl.read_ndjson(lines.str.join("\n").item().encode(), schema=dict(schema), ignore_errors=True)
    except pl.exceptions.ComputeError:
        return None
    return frame if frame.height == len(lines) else None


def _halved(lines: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    frame = _read(lines, schema)
    if frame is not None:
        return frame
    if len(lines) == 1:
        return pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in schema.items()})
    half = len(lines) // 2
    return pl.concat([_halved(lines.head(half), schema), _halved(lines.slice(half), schema)])


def bodies(record: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """As `decoded`, for push bodies, whose schema is of lists in lists: those NDJSON reads 60 times slower.

    `json_decode` joins the rows with commas, so a torn body could steal from the next: each must be valid by itself
    (a quarter of the cost). It also minds types; a body that fails is found by halving and read forgivingly.
    """
    text = record.str.strip_chars()
    return _bodies(_kept(text, text.str.starts_with("{") & text.str.json_path_match("$").is_not_null()), schema)


def _bodies(lines: pl.Series, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    try:
        return lines.str.json_decode(pl.Struct(schema)).struct.unnest()
    except pl.exceptions.ComputeError:
        if len(lines) == 1:
            return decoded(lines, schema)
    half = len(lines) // 2
    return pl.concat([_bodies(lines.head(half), schema), _bodies(lines.slice(half), schema)])


def is_event(text: pl.Expr) -> pl.Expr:
    """Whether the JSON text is a Kubernetes Event of either API (INTEROP section 2); one quoted in a string is not."""
    hinted = text.str.contains("involvedObject", literal=True) | text.str.contains("regarding", literal=True)
    return pl.when(hinted).then(text).str.contains(_EVENT).fill_null(value=False)


def events(rows: pl.DataFrame) -> pl.DataFrame:
    """Event objects handed on as text, without a time: the shipper's is that of its watch, the event has its own."""
    return unwrapped(rows, line=pl.col("line"), message=pl.col("record"), format=pl.lit("k8s.events"))


def plain_value(text: pl.Expr) -> pl.Expr:
    """The text unless it is a JSON object or array that was decoded as a String."""
    return pl.when(~text.str.contains(r"^[\[{]")).then(text)


def app(labels: pl.Expr) -> pl.Expr:
    """The app label of a struct of `LABELS`."""
    return pl.coalesce(plain_value(labels.struct.field(name)) for name in LABELS)


def image(reference: pl.Expr) -> pl.Expr:
    """An image reference without tag and digest, which is what `container.image.name` means in OpenTelemetry."""
    return reference.str.replace(r"(?::[^/:@]+)?(?:@.*)?$", "")


def origin(path: pl.Expr) -> dict[str, pl.Expr]:
    """Namespace, pod, uid and container out of a log file's path or a Fluent Bit tag, where dots stand for slashes.

    `/var/log/pods/<ns>_<pod>_<uid>/<container>/<n>.log`, `/var/log/containers/<pod>_<ns>_<container>-<id>.log`.
    """
    return {
        "k8s_namespace_name": pl.coalesce(path.str.extract(_POD_FILE, 1), path.str.extract(_CONTAINER_FILE, 2)),
        "k8s_pod_name": pl.coalesce(path.str.extract(_POD_FILE, 2), path.str.extract(_CONTAINER_FILE, 1)),
        "k8s_pod_uid": path.str.extract(_POD_FILE, 3),
        "container_name": pl.coalesce(path.str.extract(_POD_FILE, 4), path.str.extract(_CONTAINER_FILE, 3)),
    }


JOURNAL: Final = (
    *("MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "_HOSTNAME", "_COMM", "_SYSTEMD_UNIT"),
    *("_TRANSPORT", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP"),
)
"""The journal fields that are read (systemd.journal-fields(7)); shippers respell them, see `spellings`."""

_JOURNAL_KEY: Final = r'"_*(?i:transport|systemd_unit|syslog_identifier|(?:source_)?realtime_timestamp)"\s*:'
JOURNAL_SNIFF: Final = rf"^\s*[\[{{].*{_JOURNAL_KEY}"
_BYTES: Final = r"^\[\d{1,3}(?:, \d{1,3})*\]$"


def spellings(field: str) -> tuple[str, ...]:
    """A journal field as `journalctl` names it, and as Fluent Bit does with `lowercase` or `strip_underscores`."""
    bare = field.lstrip("_")
    return tuple(dict.fromkeys((field, field.lower(), bare, bare.lower())))


def _bytes(listed: str) -> str:
    return bytes(int(number) & 255 for number in listed[1:-1].split(",")).decode(errors="replace")


def _single(field: str) -> pl.Expr:
    """A field that was given several times is a list; the first counts."""
    text = pl.coalesce(spellings(field))
    listed = pl.when(text.str.starts_with('["')).then(text)
    return pl.coalesce(listed.str.json_path_match("$[0]"), text).alias(field)


def _message() -> pl.Expr:
    """The message; one that is not UTF-8 or not printable is a list of byte values, one given twice a list of texts.

    A text that only looks like a list is told from one by the raw record.
    """
    text = pl.coalesce(spellings("MESSAGE"))
    raw = pl.when(text.str.starts_with("[") & pl.col("record").str.contains(r'(?i)"message"\s*:\s*\[')).then("record")
    octets = pl.when(raw.is_not_null() & text.str.contains(_BYTES)).then(text)
    firsts = (raw.str.json_path_match(f"$.{name}[0]") for name in spellings("MESSAGE"))
    return pl.coalesce(octets.map_elements(_bytes, return_dtype=pl.String()), *firsts, text)


def is_journal(text: pl.Expr) -> pl.Expr:
    """Whether the JSON text is a journal record, and not a container's that has such a key."""
    other = text.str.contains('"kubernetes":', literal=True)
    return pl.when(~other).then(text).str.contains(_JOURNAL_KEY).fill_null(value=False)


def written_by(name: pl.Expr, *, transport: pl.Expr, facility: pl.Expr) -> dict[str, pl.Expr]:
    """`format` and `process_name` of a journal record; of unknown transport, the identifier `kernel` is believed.

    The kernel's is only what has facility 0: what user space writes to /dev/kmsg has the same transport.
    """
    kernel = (facility.fill_null("0") == "0") & (pl.coalesce(transport, name) == "kernel")
    program = pl.when(kernel).then(pl.lit("kernel")).when(name == "kernel").then(pl.lit("user")).otherwise(name)
    return {"format": pl.when(kernel).then(pl.lit("kernel")), "process_name": program}


def journal(rows: pl.DataFrame) -> pl.DataFrame:
    """Journal records (`line`, `record`) as rows, from `journalctl -o json`, Fluent Bit, Vector or OpenTelemetry."""
    outer = ("date", "@timestamp", "timestamp", "time", "host")
    names = [name for field in JOURNAL for name in spellings(field)]
    raw = decoded(rows["record"], dict.fromkeys((*names, *outer), pl.String()))
    given = raw.with_columns(rows["line"], rows["record"])
    frame = given.select("line", *outer, *map(_single, JOURNAL[1:]), MESSAGE=_message())
    written = moments(frame["__REALTIME_TIMESTAMP"], *(frame[name] for name in outer[:4]))
    name = pl.coalesce("SYSLOG_IDENTIFIER", "_COMM", pl.col("_SYSTEMD_UNIT").str.strip_suffix(".service"))
    return unwrapped(
        frame.with_columns(written),
        line=pl.col("line"),
        time=pl.coalesce("moment", texts.epoch(pl.col("_SOURCE_REALTIME_TIMESTAMP"))),
        message=pl.col("MESSAGE"),
        log_level=texts.severity(pl.col("PRIORITY")),
        k8s_node_name=pl.coalesce("_HOSTNAME", "host"),
        **written_by(name, transport=pl.col("_TRANSPORT"), facility=pl.col("SYSLOG_FACILITY")),
    )
