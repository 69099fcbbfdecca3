"""Loki push bodies as JSON: streams of labelled `[nanoseconds, line, metadata]` entries (INTEROP 2.3).

Labels are whatever the agent was told to set; those of Promtail, Alloy, Fluent Bit and OpenTelemetry are known here.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
from pipeline.parsers.shippers import (
    LABELS,
    app,
    bodies,
    decoded,
    image,
    is_event,
    origin,
    strings,
    unwrapped,
    written_by,
)

_NAMES: Final = {
    "k8s_cluster_name": ("cluster", "k8s_cluster_name", "cluster_name"),
    "k8s_node_name": ("node_name", "node", "k8s_node_name", "kubernetes_host", "nodename", "hostname", "host"),
    "k8s_namespace_name": ("namespace", "k8s_namespace_name", "kubernetes_namespace_name", "namespace_name"),
    "k8s_pod_name": ("pod", "k8s_pod_name", "pod_name", "kubernetes_pod_name"),
    "k8s_pod_uid": ("pod_uid", "k8s_pod_uid"),
    "container_name": ("container", "k8s_container_name", "container_name", "kubernetes_container_name"),
    "container_image_name": ("image", "container_image", "container_image_name"),
    "log_iostream": ("stream", "log_iostream"),
    "level": ("level", "detected_level", "severity_text"),
    "process": ("syslog_identifier", "unit", "systemd_unit"),
    "transport": ("transport",),
    "facility": ("syslog_facility",),
    "file": ("filename", "log_file_path"),
}
_LABELS: Final = strings(*(label for labels in _NAMES.values() for label in labels), *LABELS)
_FIELDS: Final[dict[str, pl.DataType]] = {
    "streams": pl.List(pl.Struct({"stream": _LABELS, "values": pl.List(pl.List(pl.String()))})),
}
_METADATA: Final = r'["{]\s*\}\s*\]'
"""An entry that ends with an object. Only the forgiving reader takes one for a String; it is slow on small requests."""

_INNER: Final = r'^\{(?:"log":"|(?s:.*)"(?:stream":"std(?:out|err)"|_p":"[FP]"|kubernetes":\{))'
_POD: Final = {
    "k8s_node_name": "host",
    "k8s_namespace_name": "namespace_name",
    "k8s_pod_name": "pod_name",
    "k8s_pod_uid": "pod_id",
    "container_name": "container_name",
}
_RECORD: Final[dict[str, pl.DataType]] = {
    "log": pl.String(),
    "stream": pl.String(),
    "kubernetes": pl.Struct({**strings(*_POD.values()).to_schema(), "labels": strings(*LABELS)}),
}
"""Fluent Bit's `loki` output writes the whole record as the line, unless told otherwise (`line_format`)."""


def _entries(frame: pl.DataFrame) -> pl.DataFrame:
    """One row an entry: `line`, `stream` (struct of labels), `stamp`, `text`, `metadata` (JSON text)."""
    numbered = frame.select("record", pl.int_range(pl.len(), dtype=pl.UInt32).alias("line"))
    mixed = pl.col("record").str.contains(_METADATA)
    readers = ((bodies, numbered.filter(~mixed)), (decoded, numbered.filter(mixed)))
    requests = pl.concat([read(part["record"], _FIELDS).with_columns(part["line"]) for read, part in readers]).sort("line")
    entries = requests.explode("streams", empty_as_null=True).unnest("streams").explode("values", empty_as_null=True)
    parts = {name: pl.col("values").list.get(at, null_on_oob=True) for at, name in enumerate(("stamp", "text", "meta"))}
    return entries.select("line", "stream", **parts)


def _named(entries: pl.DataFrame) -> pl.DataFrame:
    """A column a name, from the labels, else from the entry's structured metadata."""
    meta = decoded(entries["meta"].fill_null(""), {name: pl.String() for name in _LABELS.to_schema()})
    labels = entries["stream"].struct.unnest()
    known = {name: [labels[label] for label in spelt] for name, spelt in _NAMES.items()}
    added = {name: [meta[label] for label in spelt] for name, spelt in _NAMES.items()}
    columns = {name: pl.coalesce(*map(pl.lit, known[name]), *map(pl.lit, added[name])) for name in _NAMES}
    return entries.select("line", "stamp", "text", app(pl.col("stream")).alias("app"), **columns)


def _opened(rows: pl.DataFrame) -> pl.DataFrame:
    """Entries whose line is a record of Fluent Bit give its text; its names go behind the labels'."""
    held = (rows["text"].str.contains('"log":"', literal=True) & rows["text"].str.contains(_INNER)).fill_null(value=False)
    if not held.any():
        return rows
    inner = decoded(rows["text"].zip_with(held, pl.Series([""])), _RECORD).select(pl.all().name.prefix("inner."))
    record = pl.col("inner.kubernetes").struct
    names = (pl.coalesce(pl.col(name), record.field(field)).alias(name) for name, field in _POD.items())
    return rows.with_columns(inner).with_columns(
        *names,
        pl.coalesce(pl.col("inner.log").str.strip_suffix("\n"), "text").alias("text"),
        pl.coalesce("log_iostream", "inner.stream").alias("log_iostream"),
        pl.coalesce(pl.col("app"), app(record.field("labels"))).alias("app"),
    )


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    rows = _opened(_named(_entries(frame)))
    known = origin(pl.when(pl.col("k8s_pod_name").is_null()).then(pl.col("file")))
    event = is_event(pl.col("text"))
    author = written_by(
        pl.col("process").str.strip_suffix(".service"), transport=pl.col("transport"), facility=pl.col("facility")
    )
    places = ("k8s_namespace_name", "k8s_pod_name", "k8s_pod_uid", "container_name")
    return unwrapped(
        rows,
        line=pl.col("line"),
        # An agent stamps events with the time of its reading; the format has the event's own.
        time=pl.when(~event).then(text.epoch(pl.col("stamp"))),
        message=pl.col("text"),
        log_iostream=pl.col("log_iostream"),
        log_level=text.level(pl.col("level")),
        k8s_cluster_name=pl.col("k8s_cluster_name"),
        k8s_node_name=pl.col("k8s_node_name"),
        k8s_pod_app=pl.col("app"),
        container_image_name=image(pl.col("container_image_name")),
        process_name=author["process_name"],
        format=pl.when(event).then(pl.lit("k8s.events")).otherwise(author["format"]),
        **{name: pl.coalesce(pl.col(name), known[name]) for name in places},
    )


ENVELOPE = Envelope(name="loki", unwrap=_unwrap, sniff=r'^\s*\{\s*"streams"\s*:\s*\[', priority=90)
