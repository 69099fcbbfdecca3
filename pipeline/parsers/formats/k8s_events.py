"""Kubernetes Event objects as JSON: core/v1 or events.k8s.io/v1, bare or in a watch record `{"type", "object"}`.

The two APIs name the same things differently (`involvedObject` and `regarding`, `message` and `note`).
Both spellings are read whatever `apiVersion` says, because exporters mix them. Names: the API reference of Event. The
time of an event: `series.lastObservedTime`, `lastTimestamp`, `eventTime`, `firstTimestamp`, `creationTimestamp`.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import PARSED, TIME
from pipeline.parsers import Context, Format, text

COLUMNS: Final[dict[str, pl.DataType]] = {
    "message": pl.String(),
    "event.reason": pl.String(),
    "event.type": pl.String(),
    "event.action": pl.String(),
    "event.uid": pl.String(),
    "event.count": pl.Int64(),
    "event.first": TIME,
    "event.last": TIME,
    "event.watch": pl.String(),
    "object.kind": pl.String(),
    "object.name": pl.String(),
    "object.uid": pl.String(),
    "k8s.namespace.name": pl.String(),
    "k8s.pod.name": pl.String(),
    "k8s.node.name": pl.String(),
    "k8s.service.name": pl.String(),
    "k8s.workload.name": pl.String(),
    "container.name": pl.String(),
    "process.name": pl.String(),
}

_REFERENCES: Final = ("involvedObject", "regarding")
_LEAVES: Final = (
    *(f"metadata.{key}" for key in ("name", "namespace", "uid", "creationTimestamp")),
    *(f"{ref}.{key}" for ref in _REFERENCES for key in ("kind", "name", "namespace", "uid", "fieldPath")),
    *(f"{source}.{key}" for source in ("source", "deprecatedSource") for key in ("component", "host")),
    *("series.count", "series.lastObservedTime", "count", "deprecatedCount"),
    *("type", "reason", "action", "message", "note"),
    *("eventTime", "firstTimestamp", "deprecatedFirstTimestamp", "lastTimestamp", "deprecatedLastTimestamp"),
    *("reportingController", "reportingComponent", "reportingInstance"),
)


def _struct(paths: tuple[str, ...]) -> pl.Struct:
    tree: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        tree.setdefault(head, []).extend([rest] if rest else [])
    return pl.Struct({head: _struct(tuple(rest)) if rest else pl.String() for head, rest in tree.items()})


_EVENT: Final = _struct(_LEAVES)

# The letters of `SafeEncodeString`, by which the API server and the controllers make suffixes: no vowels, no 0, 1, 3.
_SAFE: Final = "[bcdfghjklmnpqrstvwxz2456789]"
_SLICE_SUFFIX: Final = f"-{_SAFE}{{5}}$"
# 32 bits in decimal, encoded; some tools write hex. Shorter, or with other vowels, it is a name such as `web-nginx`.
_TEMPLATE_HASH: Final = f"-(?:{_SAFE}{{6,10}}|[0-9a-f]{{8,10}})$"
# A CronJob names its Jobs by the minute (formerly second) of their schedule; the ranges spare names ending in a date.
_SCHEDULE: Final = r"-(?:2[5-9]\d{6}|3\d{7}|1[4-9]\d{8})$"
_CONTAINER: Final = r"^spec\.(?:containers|initContainers|ephemeralContainers)\{([^}]+)\}"

_DATED: Final = r"^(?:19[7-9]|2\d\d)\d-\d\d-\d\d"
_OWNERS: Final = ("Deployment", "DaemonSet", "StatefulSet", "CronJob")


def _odd(events: pl.Series, start: int = 0) -> list[int]:
    """Rows, counted from `start`, that `_EVENT` does not fit; found by halving: Polars decodes a column as one."""
    try:
        events.str.json_decode(_EVENT)
    except pl.exceptions.ComputeError:
        half = len(events) // 2
        return _odd(events.head(half), start) + _odd(events.slice(half), start + half) if half else [start]
    return []


def _decode(events: pl.Series) -> pl.Series:
    """JSON texts, each valid by itself, to structs; null where a value has another shape than in `_EVENT`."""
    try:
        return events.str.json_decode(_EVENT)
    except pl.exceptions.ComputeError:
        return events.scatter(_odd(events), None).str.json_decode(_EVENT)


def _field(path: str) -> pl.Expr:
    head, *rest = path.split(".")
    expr = pl.col("decoded").struct.field(head)
    for key in rest:
        expr = expr.struct.field(key)
    return expr.alias(path)


def _unwatched(messages: pl.Series) -> pl.DataFrame:
    """Texts to the columns `event`, its JSON text or null, and `watch`, the type of the record."""
    frame = pl.DataFrame({"text": messages}).with_columns(
        pl.when(pl.col("text").str.contains(r"^\s*\{")).then("text"),
        inner=pl.when(pl.col("text").str.contains('"object"', literal=True)).then("text").str.json_path_match("$.object"),
    )
    frame = frame.with_columns(watched=pl.col("inner").str.starts_with("{").fill_null(value=False))
    # Unchecked, two halves of an object in neighbouring rows would decode as one: each must be valid alone.
    whole = pl.when(~pl.col("watched")).then("text").str.json_path_match("$").is_not_null()
    return frame.select(
        event=pl.when("watched").then("inner").when(whole).then("text"),
        watch=pl.when("watched").then("text").str.json_path_match("$.type"),
    )


def _leaves(messages: pl.Series) -> pl.DataFrame:
    """One String column for each of `_LEAVES`, and `watch`; null where the text is no JSON object; empty is null."""
    frame = _unwatched(messages).with_row_index("row")
    frame = frame.with_columns(_decode(frame["event"]).alias("decoded"))
    fits = pl.col("event").is_null() | pl.col("decoded").is_not_null()
    plain = frame.filter(fits).select("row", "watch", *(_field(path) for path in _LEAVES))
    loose = [pl.col("event").str.json_path_match(f"$.{path}").alias(path) for path in _LEAVES]
    flat = pl.concat([plain, frame.filter(~fits).select("row", "watch", *loose)]).sort("row").drop("row")
    return flat.with_columns(pl.when(pl.col(path) != "").then(path).alias(path) for path in _LEAVES)


def _time(*paths: str) -> pl.Expr:
    """The first of the paths that holds a time; Go's zero time (year 1) is none."""
    # Chosen as text, so that one column is read as a time and not seven. Kubernetes writes RFC 3339 only.
    dated = pl.coalesce(pl.when(pl.col(path).str.contains(_DATED)).then(path) for path in paths)
    return dated.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)


def _about() -> dict[str, pl.Expr]:
    return {
        "object.kind": pl.coalesce(f"{ref}.kind" for ref in _REFERENCES),
        "object.name": pl.coalesce(f"{ref}.name" for ref in _REFERENCES),
        "object.uid": pl.coalesce(f"{ref}.uid" for ref in _REFERENCES),
        "namespace": pl.coalesce(f"{ref}.namespace" for ref in _REFERENCES),
        "container.name": pl.coalesce(f"{ref}.fieldPath" for ref in _REFERENCES).str.extract(_CONTAINER),
        "host": pl.coalesce("source.host", "deprecatedSource.host"),
        "process.name": pl.coalesce(
            *("reportingController", "reportingComponent", "source.component", "deprecatedSource.component")
        ),
    }


def _happened() -> dict[str, pl.Expr]:
    counts = [pl.col(path).cast(pl.Int64, strict=False) for path in ("count", "series.count", "deprecatedCount")]
    first = ("firstTimestamp", "deprecatedFirstTimestamp")
    last = ("series.lastObservedTime", "lastTimestamp", "deprecatedLastTimestamp", "eventTime", *first)
    name = pl.concat_str(["metadata.namespace", "metadata.name"], separator="/")
    return {
        "message": pl.coalesce("message", "note"),
        "event.reason": pl.col("reason"),
        "event.type": pl.col("type"),
        "event.action": pl.col("action"),
        "event.uid": pl.coalesce("metadata.uid", name),
        "event.count": pl.max_horizontal(*counts, pl.lit(1, pl.Int64)),
        "event.first": _time(*first, "eventTime", "metadata.creationTimestamp"),
        "event.last": _time(*last, "metadata.creationTimestamp"),
        "event.watch": pl.col("watch"),
    }


def _entities() -> dict[str, pl.Expr]:
    kind, name = pl.col("object.kind"), pl.col("object.name")
    reporter = pl.when(pl.col("process.name") == "kubelet").then("reportingInstance")
    return {
        "k8s.namespace.name": pl.coalesce("namespace", pl.when(kind == "Namespace").then(name)),
        "k8s.pod.name": pl.when(kind == "Pod").then(name),
        "k8s.node.name": pl.coalesce("host", reporter, pl.when(kind == "Node").then(name)),
        "k8s.service.name": pl.when(kind.is_in(["Service", "Endpoints"]))
        .then(name)
        .when(kind == "EndpointSlice")
        .then(name.str.replace(_SLICE_SUFFIX, "")),
        "k8s.workload.name": pl.when(kind.is_in(_OWNERS))
        .then(name)
        .when(kind == "ReplicaSet")
        .then(name.str.replace(_TEMPLATE_HASH, ""))
        .when(kind == "Job")
        .then(name.str.replace(_SCHEDULE, "")),
    }


def _parse(frame: pl.DataFrame, _context: Context) -> pl.DataFrame:
    events = _leaves(frame["message"])
    events = events.with_columns(**_about(), **_happened()).with_columns(**_entities())
    known = pl.any_horizontal(pl.col("object.kind", "object.name").is_not_null())
    parsed = events.with_columns(
        pl.when(known).then(pl.lit("k8s.events")).alias("source"),
        text.level(pl.col("event.type").replace("Normal", "info")).alias("log.level"),
        pl.col("event.last").alias("event.time"),
    )
    return parsed.select(pl.when(known).then(name).alias(name) for name in (*PARSED, *COLUMNS))


FORMAT: Final = Format(
    name="k8s.events",
    columns=COLUMNS,
    sources=("k8s.events",),
    parse=_parse,
    verbatim=frozenset(
        {
            *("event.reason", "event.type", "event.action", "event.watch", "object.kind", "object.name", "object.uid"),
            *("k8s.namespace.name", "k8s.pod.name", "k8s.node.name", "k8s.service.name", "k8s.workload.name"),
            *("container.name", "process.name"),
        }
    ),
    sniff=r'"(?:involvedObject|regarding)"\s*:\s*\{',
    priority=20,
)
