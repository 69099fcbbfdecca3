"""Records of Fluent Bit and Fluentd: the kubernetes filter's, the systemd input's, raw Kubernetes events (INTEROP 2.1).

One object a record (Kafka, json_lines) or an array of them (HTTP). The text stands under `log`, under another key where
a parser or `merge_log` moved it, or is a whole object; the pod stands under `kubernetes`, or only in the tag.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
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

_POD: Final = ("pod_name", "namespace_name", "pod_id", "host", "container_name", "container_image", "container_hash")
_TIMES: Final = ("time", "@timestamp", "date", "timestamp")
_TEXTS: Final = ("log", "message", "msg")
_OTHERS: Final = ("log_processed", "stream", "_p", "logtag", "level", "severity", "tag", "_tag", "fluentbit_tag")
_FIELDS: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys((*_TIMES, *_TEXTS, *_OTHERS), pl.String()),
    "kubernetes": pl.Struct({**strings(*_POD).to_schema(), "labels": strings(*LABELS)}),
}

_NESTED: Final = r'"(?:log|message|msg)"\s*:\s*\{'


def _containers(rows: pl.DataFrame) -> pl.DataFrame:
    fields = decoded(rows["record"], _FIELDS).with_columns(rows["line"], rows["record"])
    pod = pl.col("kubernetes").struct
    path = pl.coalesce("tag", "_tag", "fluentbit_tag")
    known = origin(pl.when(pod.field("pod_name").is_null()).then(path))
    return unwrapped(
        fields.with_columns(moments(*(fields[name] for name in _TIMES)), _messages(fields)),
        line=pl.col("line"),
        time=pl.col("moment"),
        message=pl.col("found"),
        log_iostream=pl.col("stream"),
        partial=pl.coalesce("_p", "logtag") == "P",
        log_level=text.level(pl.coalesce("level", "severity")),
        k8s_node_name=pod.field("host"),
        k8s_namespace_name=pl.coalesce(pod.field("namespace_name"), known["k8s_namespace_name"]),
        k8s_pod_name=pl.coalesce(pod.field("pod_name"), known["k8s_pod_name"]),
        k8s_pod_uid=pl.coalesce(pod.field("pod_id"), known["k8s_pod_uid"]),
        k8s_pod_app=app(pod.field("labels")),
        container_name=pl.coalesce(pod.field("container_name"), known["container_name"]),
        container_image_name=image(pl.coalesce(pod.field("container_image"), pod.field("container_hash"))),
    )


def _messages(fields: pl.DataFrame) -> pl.Series:
    """The text (`found`); where it is an object, its JSON, exactly, for as a String it was decoded without escapes."""
    text = fields.select(pl.coalesce(_TEXTS).alias("found"))["found"]
    odd = fields["record"].zip_with(text.str.starts_with("{") | text.is_null(), pl.Series([None], dtype=pl.String()))
    nested = odd.zip_with(odd.str.contains(_NESTED) | text.is_null(), pl.Series([None], dtype=pl.String()))
    if nested.null_count() < len(nested):
        exact = (pl.lit(nested).str.json_path_match(f"$.{key}") for key in (*_TEXTS, "log_processed"))
        text = fields.select(pl.coalesce(*exact, pl.lit(text)).alias("found"))["found"]
    return text.str.strip_suffix("\n")


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    kind = pl.when(is_event(record)).then(pl.lit("event")).when(is_journal(record)).then(pl.lit("journal"))
    readers = {"event": events, "journal": journal, "container": _containers}
    return dispatched(records(frame), kind.otherwise(pl.lit("container")), readers)


ENVELOPE = Envelope(
    name="fluentbit",
    unwrap=_unwrap,
    sniff=r'^\s*(?:\[\s*\{|\{\s*"(?:date|@timestamp)"\s*:\s*\d{10}|\{.*"(?:namespace_name"\s*:|(?:_p|logtag)"\s*:\s*"[FP]"|_?tag"\s*:\s*"kube\.))',
    priority=60,
)
