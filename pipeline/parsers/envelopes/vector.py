"""Records of Vector's `kubernetes_logs` and `journald` sources, one object or an array a record (INTEROP 2.2)."""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import (
    LABELS,
    app,
    decoded,
    dispatched,
    events,
    image,
    is_event,
    is_journal,
    journal,
    moments,
    origin,
    records,
    strings,
    unwrapped,
)

_POD: Final = ("pod_name", "pod_namespace", "pod_uid", "pod_node_name", "container_name", "container_image")
_FIELDS: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(("timestamp", "message", "stream", "file", "_partial"), pl.String()),
    "kubernetes": pl.Struct({**strings(*_POD).to_schema(), "pod_labels": strings(*LABELS)}),
}


def _containers(rows: pl.DataFrame) -> pl.DataFrame:
    pod = pl.col("kubernetes").struct
    known = origin(pl.when(pod.field("pod_name").is_null()).then(pl.col("file")))
    fields = decoded(rows["record"], _FIELDS)
    return unwrapped(
        fields.with_columns(rows["line"], moments(fields["timestamp"])),
        line=pl.col("line"),
        time=pl.col("moment"),
        message=pl.col("message"),
        log_iostream=pl.col("stream"),
        partial=pl.col("_partial") == "true",
        k8s_node_name=pod.field("pod_node_name"),
        k8s_namespace_name=pl.coalesce(pod.field("pod_namespace"), known["k8s_namespace_name"]),
        k8s_pod_name=pl.coalesce(pod.field("pod_name"), known["k8s_pod_name"]),
        k8s_pod_uid=pl.coalesce(pod.field("pod_uid"), known["k8s_pod_uid"]),
        k8s_pod_app=app(pod.field("pod_labels")),
        container_name=pl.coalesce(pod.field("container_name"), known["container_name"]),
        container_image_name=image(pod.field("container_image")),
    )


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    kind = pl.when(is_event(record)).then(pl.lit("event")).when(is_journal(record)).then(pl.lit("journal"))
    readers = {"event": events, "journal": journal, "container": _containers}
    return dispatched(records(frame), kind.otherwise(pl.lit("container")), readers)


ENVELOPE = Envelope(
    name="vector",
    unwrap=_unwrap,
    sniff=r'^\s*[\[{].*"(?:source_type"\s*:\s*"(?:kubernetes_logs|journald)"|pod_namespace"\s*:)',
    priority=80,
)
