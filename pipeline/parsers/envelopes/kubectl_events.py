"""The table of `kubectl get events` and `kubectl events`: a row an Event, with or without `-A`, `-o wide`, header.

    NAMESPACE   LAST SEEN           TYPE      REASON      OBJECT          MESSAGE
    shop        5m (x3 over 10m)    Warning   Unhealthy   pod/cart-x2x8p  Readiness probe failed: ...

Columns: printers.go of Kubernetes (wide adds SUBOBJECT, SOURCE, FIRST SEEN, COUNT, NAME), pkg/cmd/events of kubectl.
Cells are parted by two spaces or more, so a row is read without its header, which a batch need not contain. A row
becomes an Event as JSON for the format `k8s.events`; its ages count back from `context.now`: without, it has no time.
"""

from datetime import datetime
from typing import Final

import polars as pl

from pipeline.model.columns import TIME
from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import unwrapped

_AGE: Final = r"(?:\d{1,2}y|\d{1,5}[dhms])+"
_SEEN: Final = rf"(?:{_AGE}|<unknown>|<invalid>)"
_HEADER: Final = r"^(?:NAMESPACE +)?LAST SEEN +TYPE +REASON +OBJECT"
_START: Final = (
    r"^(?:(?P<namespace>[a-z0-9][a-z0-9-]*) {2,})?"
    rf"(?P<seen>{_SEEN})(?: \(x(?P<times>\d{{1,9}}) over (?P<since>{_AGE})\))? {{2,}}"
    r"(?P<type>Normal|Warning) {2,}(?P<reason>\S+) {2,}(?P<kind>[A-Za-z]+)/(?P<name>\S+)"
)
_ROW: Final = _START + r"(?: {2,}(?P<rest>.*?))?\s*$"
_WIDE: Final = (
    r"^(?:(?P<field>spec\.\S+) {2,})?(?:(?P<component>[A-Za-z0-9][\w./-]*)(?:, (?P<instance>[\w.-]+))? {2,})?"
    rf"(?P<message>.*?) {{2,}}(?P<first>{_SEEN}) {{2,}}(?P<count>\d{{1,9}}) {{2,}}(?P<event>\S+)$"
)

_SECONDS: Final = {"y": 365 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_KINDS: Final = {
    kind.lower(): kind
    for kind in (
        *("Pod", "Node", "Service", "Endpoints", "EndpointSlice", "Ingress", "NetworkPolicy", "Namespace", "ConfigMap"),
        *("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "HorizontalPodAutoscaler", "Lease"),
        *(
            "PersistentVolume",
            "PersistentVolumeClaim",
            "PodDisruptionBudget",
            "ReplicationController",
            "ServiceAccount",
        ),
        *("Secret", "Gateway", "HTTPRoute", "GRPCRoute", "IngressClass", "StorageClass", "Certificate"),
    )
}
# Their events lie in `default`, which is not where they are.
_CLUSTERED: Final = ("Node", "Namespace", "PersistentVolume", "IngressClass", "StorageClass")


def _ago(age: str, now: datetime | None) -> pl.Expr:
    """The time that lies `age` (`2d3h`, `5m2s`) before `now`; null where it is no age or now is unknown."""
    if now is None:
        return pl.lit(None, TIME)
    text = pl.col(age)
    parts = [text.str.extract(rf"(\d+){unit}").cast(pl.Int64) * size for unit, size in _SECONDS.items()]
    seconds = pl.when(text.str.contains(r"^\d")).then(pl.sum_horizontal(parts))
    return pl.lit(now).cast(TIME) - pl.duration(seconds=seconds)


def _cells(frame: pl.DataFrame, now: datetime | None) -> pl.DataFrame:
    """The rows of the table, without its header; `kind` is null where the record is no row."""
    rows = frame.with_row_index("line").filter(~pl.col("record").str.contains(_HEADER))
    rows = rows.with_columns(pl.col("record").str.extract_groups(_ROW).struct.unnest())
    rows = rows.with_columns(pl.col("rest").str.extract_groups(_WIDE).struct.unnest())
    return rows.with_columns(
        pl.col("kind").replace(_KINDS),
        pl.coalesce("message", "rest").alias("message"),
        pl.coalesce("count", "times").cast(pl.Int64).alias("count"),
        last=_ago("seen", now),
        first=pl.coalesce(_ago("since", now), _ago("first", now)),
    )


def _event() -> pl.Expr:
    """The Event as JSON text. SOURCE goes to the reporter's fields, as its second part is a node only for a kubelet."""
    clustered = pl.col("kind").is_in(_CLUSTERED)
    stamp = "%Y-%m-%dT%H:%M:%S%.6fZ"
    return pl.struct(
        metadata=pl.struct(name="event", namespace="namespace"),
        involvedObject=pl.struct(
            kind="kind",
            name="name",
            fieldPath="field",
            namespace=pl.when(~clustered).then("namespace"),
        ),
        reason="reason",
        message="message",
        type="type",
        count="count",
        firstTimestamp=pl.col("first").dt.strftime(stamp),
        lastTimestamp=pl.col("last").dt.strftime(stamp),
        reportingComponent="component",
        reportingInstance="instance",
    ).struct.json_encode()


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    rows = _cells(frame, context.now)
    known = pl.col("kind").is_not_null()
    return unwrapped(
        rows,
        line=pl.col("line"),
        time=pl.col("last"),
        message=pl.when(known).then(_event()),
        format=pl.when(known).then(pl.lit("k8s.events")),
        k8s_namespace_name=pl.when(~pl.col("kind").is_in(_CLUSTERED)).then("namespace"),
    )


ENVELOPE: Final = Envelope(name="kubectl_events", unwrap=_unwrap, sniff=rf"{_HEADER}|{_START}", priority=10)
