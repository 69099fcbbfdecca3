"""Elastic Filebeat and Agent documents, and the records of OpenShift logging (INTEROP 2.10).

Filebeat: exported fields (`kubernetes.pod.name`, `log.file.path`, and for the journal `systemd`, `syslog`). OpenShift:
its data model (`kubernetes.pod_name`, `hostname`, `level`, `structured`, and for the journal `systemd.t`, `systemd.u`).
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
    moments,
    origin,
    plain_value,
    records,
    strings,
    unwrapped,
    written_by,
)

_S: Final = pl.String()
_POD: Final = {
    "pod": strings("name", "uid"),
    "node": strings("name", "hostname"),
    "container": strings("name", "image"),
    "labels": strings(*LABELS),
    **dict.fromkeys(("namespace", "pod_name", "namespace_name", "pod_id"), _S),
    **dict.fromkeys(("container_name", "container_image", "container_iostream", "host"), _S),
}
_SYSTEMD: Final = {
    **dict.fromkeys(("unit", "transport"), _S),
    "t": strings("COMM", "HOSTNAME", "SYSTEMD_UNIT", "TRANSPORT"),
    "u": strings("SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"),
}
_FIELDS: Final[dict[str, pl.DataType]] = {
    **dict.fromkeys(("@timestamp", "message", "structured", "stream", "level", "hostname"), _S),
    "kubernetes": pl.Struct(_POD),
    "container": pl.Struct({"image": strings("name")}),
    "log": pl.Struct({"file": strings("path"), "level": _S}),
    "host": strings("name", "hostname"),
    "orchestrator": pl.Struct({"cluster": strings("name")}),
    "systemd": pl.Struct(_SYSTEMD),
    "syslog": strings("identifier", "facility", "priority"),
    "process": strings("name"),
}


def _at(path: str) -> pl.Expr:
    """The member at a dotted path below the decoded columns (String)."""
    column, *names = path.split(".")
    expr = pl.col(column)
    for name in names:
        expr = expr.struct.field(name)
    return expr


def _any(*paths: str) -> pl.Expr:
    return pl.coalesce(_at(path) for path in paths)


def _author() -> dict[str, pl.Expr]:
    unit = _any("systemd.unit", "systemd.t.SYSTEMD_UNIT").str.strip_suffix(".service")
    named = _any("syslog.identifier", "systemd.u.SYSLOG_IDENTIFIER", "process.name", "systemd.t.COMM")
    return written_by(
        pl.coalesce(named, unit),
        transport=_any("systemd.transport", "systemd.t.TRANSPORT"),
        facility=_any("syslog.facility", "systemd.u.SYSLOG_FACILITY"),
    )


def _node() -> pl.Expr:
    """The pod's node; `host` is where the agent runs, so it counts only for what is read from the journal."""
    journal = _any("systemd.unit", "systemd.transport", "systemd.t.TRANSPORT").is_not_null()
    agent = pl.when(journal).then(_any("systemd.t.HOSTNAME", "host.hostname", "host.name"))
    return pl.coalesce(_any("kubernetes.node.name", "kubernetes.node.hostname", "kubernetes.host"), "hostname", agent)


def _documents(rows: pl.DataFrame) -> pl.DataFrame:
    known = origin(pl.when(_any("kubernetes.pod.name", "kubernetes.pod_name").is_null()).then(_at("log.file.path")))
    structured = pl.when(pl.col("message").is_null() & pl.col("structured").is_not_null()).then(pl.col("record"))
    fields = decoded(rows["record"], _FIELDS)
    return unwrapped(
        fields.with_columns(rows["line"], rows["record"], moments(fields["@timestamp"])),
        line=pl.col("line"),
        time=pl.col("moment"),
        message=pl.coalesce("message", structured.str.json_path_match("$.structured")),
        log_iostream=_any("stream", "kubernetes.container_iostream"),
        log_level=pl.coalesce(text.level(_any("log.level", "level")), text.severity(_at("syslog.priority"))),
        k8s_cluster_name=_at("orchestrator.cluster.name"),
        k8s_node_name=_node(),
        k8s_namespace_name=pl.coalesce(
            plain_value(_any("kubernetes.namespace", "kubernetes.namespace_name")), known["k8s_namespace_name"]
        ),
        k8s_pod_name=pl.coalesce(_any("kubernetes.pod.name", "kubernetes.pod_name"), known["k8s_pod_name"]),
        k8s_pod_uid=pl.coalesce(_any("kubernetes.pod.uid", "kubernetes.pod_id"), known["k8s_pod_uid"]),
        k8s_pod_app=app(_at("kubernetes.labels")),
        container_name=pl.coalesce(_any("kubernetes.container.name", "kubernetes.container_name"), known["container_name"]),
        container_image_name=image(_any("container.image.name", "kubernetes.container.image", "kubernetes.container_image")),
        **_author(),
    )


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    kind = pl.when(is_event(pl.col("record"))).then(pl.lit("event")).otherwise(pl.lit("document"))
    return dispatched(records(frame), kind, {"event": events, "document": _documents})


ENVELOPE = Envelope(
    name="filebeat",
    unwrap=_unwrap,
    sniff=r'^\s*[\[{].*"(?:openshift"\s*:\s*\{|ephemeral_id"\s*:|pod"\s*:\s*\{\s*"(?:name|uid|ip|labels)")',
    priority=70,
)
