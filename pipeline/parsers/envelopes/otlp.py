"""OTLP log requests as JSON (`resourceLogs`), one a record (INTEROP 2.4; opentelemetry-proto `examples/logs.json`).

A body is a text, or a map: a journal record, or what `k8sobjects` makes of a Kubernetes event. Receiver `k8s_events`
spreads an event over attributes instead; it is put together again. 64-bit integers may be numbers or strings.
"""

import json
from collections.abc import Iterator
from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
from pipeline.parsers.shippers import (
    LABELS,
    app,
    bodies,
    dispatched,
    image,
    is_event,
    is_journal,
    journal,
    origin,
    strings,
    unwrapped,
)

_SCALARS: Final = ("stringValue", "intValue", "boolValue", "doubleValue")
_ATTRIBUTES: Final = pl.List(pl.Struct({"key": pl.String(), "value": strings(*_SCALARS)}))
_RECORD: Final = pl.Struct(
    {
        **dict.fromkeys(("timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText"), pl.String()),
        "body": strings(*_SCALARS),
        "attributes": _ATTRIBUTES,
    }
)
_RESOURCE: Final = {
    "resource": pl.Struct({"attributes": _ATTRIBUTES}),
    "scopeLogs": pl.List(pl.Struct({"logRecords": pl.List(_RECORD)})),
}
_FIELDS: Final[dict[str, pl.DataType]] = {"resourceLogs": pl.List(pl.Struct(_RESOURCE))}

_PLACES: Final = {
    "k8s_cluster_name": "k8s.cluster.name",
    "k8s_node_name": "k8s.node.name",
    "k8s_namespace_name": "k8s.namespace.name",
    "k8s_pod_name": "k8s.pod.name",
    "k8s_pod_uid": "k8s.pod.uid",
    "container_name": "k8s.container.name",
    "container_image_name": "container.image.name",
}
_OBJECT: Final = ("kind", "name", "uid", "fieldpath", "api_version")
_HAPPENED: Final = ("reason", "action", "start_time", "name", "uid", "count")
_WANTED: Final = (
    *_PLACES.values(),
    *("host.name", "log.iostream", "logtag", "log.file.path", "k8s.resource.name"),
    *(f"k8s.pod.labels.{label}" for label in LABELS),
    *(f"k8s.object.{key}" for key in _OBJECT),
    *(f"k8s.event.{key}" for key in _HAPPENED),
)
_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "fatal")
"""Severity numbers come in fours: 1 to 4 are trace, 21 to 24 fatal."""


def _rows(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a log record: its members, `line`, a column a wanted attribute; the record's go before the resource's."""
    lines = pl.int_range(pl.len(), dtype=pl.UInt32).alias("line")
    resources = (
        bodies(frame["record"], _FIELDS).with_columns(lines).explode("resourceLogs", empty_as_null=True).unnest("resourceLogs")
    )
    held = resources.with_columns(_attributes(resources["resource"].struct.field("attributes")).to_struct("resource"))
    scopes = held.explode("scopeLogs", empty_as_null=True).unnest("scopeLogs")
    rows = scopes.explode("logRecords", empty_as_null=True).unnest("logRecords")
    own = _attributes(rows["attributes"])
    resource = rows["resource"].struct.unnest()
    merged = [own[name].zip_with(own[name].is_not_null(), resource[name]) for name in _WANTED]
    return rows.drop("attributes", "resource").with_columns(*merged, _maps(frame, rows["line"]))


def _attributes(attributes: pl.Series) -> pl.DataFrame:
    """The wanted attributes of each list, a String column each."""
    pairs = pl.DataFrame({"at": pl.int_range(len(attributes), eager=True), "pair": attributes})
    value = pl.coalesce(pl.col("value").struct.field(name) for name in _SCALARS).alias("value")
    key = pl.col("key").str.replace("k8s.pod.label.", "k8s.pod.labels.", literal=True)
    found = (
        pairs.explode("pair", empty_as_null=True)
        .unnest("pair")
        .select("at", key, value)
        .filter(pl.col("key").is_in(_WANTED))
        .pivot("key", on_columns=_WANTED, index="at", values="value", aggregate_function="first")
    )
    return pairs.select("at").join(found, on="at", how="left", maintain_order="left").drop("at")


def _maps(frame: pl.DataFrame, lines: pl.Series) -> pl.Series:
    """Per row the body as plain JSON text where it is a map, else null.

    Such bodies nest without bound, which no schema holds, so Python reads the few requests that have them.
    """
    mapped = frame["record"].str.contains('"kvlistValue"', literal=True)
    if not mapped.any():
        return pl.Series("record", [None] * len(lines), dtype=pl.String())
    texts = [list(_map_bodies(record)) if held else None for record, held in zip(frame["record"], mapped, strict=True)]
    counts = lines.value_counts().sort("line")["count"].to_list()
    # Both walks go the same way; where they disagree the request is malformed, and its maps are left unread.
    pairs = zip(texts, counts, strict=True)
    fitted = [found if found and len(found) == count else [None] * count for found, count in pairs]
    return pl.Series("record", [body for found in fitted for body in found], dtype=pl.String())


def _map_bodies(record: str) -> Iterator[str | None]:
    try:
        request = json.loads(record)
        for log in _walk(request, ("resourceLogs", "scopeLogs", "logRecords")):
            body = _member(log, "body")
            yield _dumped(_plain(body)) if _member(body, "kvlistValue") is not None else None
    except (ValueError, RecursionError):
        return


def _dumped(value: object) -> str:
    # Half a surrogate pair is a legal escape in JSON, but no UTF-8.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace").decode()


def _walk(node: object, names: tuple[str, ...]) -> Iterator[object]:
    if not names:
        yield node
        return
    for element in _listed(node, names[0]) or [None]:
        yield from _walk(element, names[1:])


def _member(node: object, name: str) -> object:
    return node.get(name) if isinstance(node, dict) else None


def _listed(node: object, name: str) -> list[object]:
    below = _member(node, name)
    return below if isinstance(below, list) else []


def _plain(value: object) -> object:
    """An AnyValue as the JSON value it stands for."""
    if (pairs := _member(value, "kvlistValue")) is not None:
        return {str(_member(pair, "key")): _plain(_member(pair, "value")) for pair in _listed(pairs, "values")}
    if (array := _member(value, "arrayValue")) is not None:
        return [_plain(element) for element in _listed(array, "values")]
    number = _member(value, "intValue")
    if isinstance(number, str) and number.isascii() and number.removeprefix("-").isdigit():
        return int(number)
    return next((found for name in _SCALARS if (found := _member(value, name)) is not None), None)


def _time() -> pl.Expr:
    stamps = (pl.col("timeUnixNano"), pl.col("observedTimeUnixNano"))
    return pl.coalesce(text.epoch(pl.when(stamp != "0").then(stamp)) for stamp in stamps)


def _logs(rows: pl.DataFrame) -> pl.DataFrame:
    labels = pl.struct(pl.col(f"k8s.pod.labels.{label}").alias(label) for label in LABELS)
    known = origin(pl.when(pl.col("k8s.pod.name").is_null()).then(pl.col("log.file.path")))
    places = {name: pl.coalesce(pl.col(column), known.get(name, pl.lit(None))) for name, column in _PLACES.items()}
    quarter = (pl.col("severityNumber").cast(pl.Int64(), strict=False) - 1) // 4
    numbered = quarter.replace_strict(dict(enumerate(_LEVELS)), default=None, return_dtype=pl.String())
    return unwrapped(
        rows,
        **{**places, "container_image_name": image(places["container_image_name"])},
        line=pl.col("line"),
        time=_time(),
        message=pl.coalesce(*(pl.col("body").struct.field(name) for name in _SCALARS), "record"),
        log_iostream=pl.col("log.iostream"),
        partial=pl.col("logtag") == "P",
        log_level=pl.coalesce(numbered, text.level(pl.col("severityText"))),
        k8s_pod_app=app(labels),
    )


def _journal(rows: pl.DataFrame) -> pl.DataFrame:
    read = journal(rows.select("line", "record"))
    node = pl.coalesce(pl.lit(rows["k8s.node.name"]), "k8s.node.name", pl.lit(rows["host.name"]))
    stamp = pl.coalesce("@timestamp", pl.lit(rows.select(_time().alias("time"))["time"]))
    cluster = pl.lit(rows["k8s.cluster.name"]).alias("k8s.cluster.name")
    return read.with_columns(stamp.alias("@timestamp"), cluster, node.alias("k8s.node.name"))


def _objects(rows: pl.DataFrame) -> pl.DataFrame:
    return unwrapped(
        rows,
        line=pl.col("line"),
        message=pl.col("record"),
        format=pl.lit("k8s.events"),
        k8s_cluster_name=pl.col("k8s.cluster.name"),
    )


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    """Events of the receiver `k8s_events`, as Event JSON; the record's time is the event's last occurrence."""
    namespace = pl.col("k8s.namespace.name").alias("namespace")
    name, uid = pl.col("k8s.event.name").alias("name"), pl.col("k8s.event.uid").alias("uid")
    renamed = {"fieldpath": "fieldPath", "api_version": "apiVersion"}
    regarded = (pl.col(f"k8s.object.{key}").alias(renamed.get(key, key)) for key in _OBJECT)
    event = pl.struct(
        pl.struct(name, namespace, uid).alias("metadata"),
        pl.struct(*regarded, namespace).alias("involvedObject"),
        pl.col("k8s.event.reason").alias("reason"),
        pl.col("k8s.event.action").alias("action"),
        pl.col("k8s.event.count").cast(pl.Int64(), strict=False).alias("count"),
        pl.col("severityText").alias("type"),
        pl.col("body").struct.field("stringValue").alias("message"),
        pl.struct(pl.col("k8s.node.name").alias("host")).alias("source"),
        _time().dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").alias("lastTimestamp"),
    )
    return _objects(rows.with_columns(event.struct.json_encode().alias("record")))


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    mapped = pl.col("record")
    objects = is_event(mapped) | (mapped.is_not_null() & (pl.col("k8s.resource.name") == "events"))
    kind = (
        pl.when(objects)
        .then(pl.lit("object"))
        .when(pl.col("k8s.event.reason").is_not_null())
        .then(pl.lit("event"))
        .when(is_journal(mapped))
        .then(pl.lit("journal"))
        .otherwise(pl.lit("log"))
    )
    readers = {"object": _objects, "event": _events, "journal": _journal, "log": _logs}
    return dispatched(_rows(frame), kind, readers)


ENVELOPE = Envelope(name="otlp", unwrap=_unwrap, sniff=r'^\s*\{\s*"resourceLogs"\s*:\s*\[', priority=90)
