"""The as-of topology join: which pod, node, zone, workload and service a row is about.

A pure function of the rows and the topology known so far: when topology arrives later than the rows it concerns, the
rows that are still in a window are enriched again (`Engine`), so the outcome does not depend on the order of arrival.
"""

from collections.abc import Mapping

import polars as pl

from pipeline.engine.objects import workload_of
from pipeline.engine.topology import FORMER, OWNER, Topology
from pipeline.model import columns

CONNECT_TIMEOUT = 5_000_000
"""Microseconds assumed between the start of a connection attempt and the line that says it timed out, where that does not tell
(the default of ingress-nginx, `proxy-connect-timeout`)."""
ETIMEDOUT = 110
PORT = r"^(?:([\d.]+)|\[(.+)\]):\d+$"
"""An address with its port, as a signature may have extracted it; IPv6 in brackets."""
UNKNOWN = "-"
"""Namespace of a service that is known only by the name in the request."""

_KEY = {
    "node": "k8s.node.name",
    "zone": "cloud.availability_zone",
    "namespace": "k8s.namespace.name",
    "workload": "k8s.workload.name",
    "pod": "k8s.pod.name",
}
_INPUT: Mapping[str, pl.DataType] = {
    "@timestamp": columns.TIME,
    "client.address": pl.String(),
    "upstream.address": pl.List(pl.String()),
    "upstream.duration": pl.List(pl.Float64()),
    "upstream.name": pl.String(),
    "url.domain": pl.String(),
    "url.path": pl.String(),
    "error.code": pl.Int64(),
    "event.duration": pl.Float64(),
    "k8s.node.name": pl.String(),
    "k8s.namespace.name": pl.String(),
    "k8s.pod.name": pl.String(),
    "k8s.workload.name": pl.String(),
    "k8s.service.name": pl.String(),
}


def enrich(rows: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The rows with the columns of `columns.TOPOLOGY` set anew, and workload, node and zone of the reporter filled in."""
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in _INPUT.items() if name not in rows.columns]
    frame = rows.drop(columns.TOPOLOGY.keys() - {"k8s.service.name"}, strict=False).with_columns(missing)
    frame = frame.with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_row"), pl.col("@timestamp").dt.epoch("us").alias("_at")
    )
    frame = _reporter(frame, topology)
    frame = _side(frame, topology, "client", _clients(frame), single=True)
    frame = _side(frame, topology, "upstream", _attempts(frame), single=False)
    frame = _service(frame, topology)
    return frame.drop("_row", "_at", *(name for name in _INPUT if name not in rows.columns and name not in columns.TOPOLOGY))


def _reporter(frame: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    known = topology.pods()
    joined = frame.join(
        known,
        left_on=["k8s.namespace.name", "k8s.pod.name"],
        right_on=["namespace", "pod"],
        how="left",
        maintain_order="left",
    )
    pods = joined["k8s.pod.name"].unique().drop_nulls().to_list()
    guessed = {pod: name for pod in pods if (name := workload_of(pod))}
    zones = topology.zones()
    return joined.with_columns(
        pl.coalesce(
            "k8s.workload.name",
            "workload",
            _mapped(pl.col("k8s.pod.name"), guessed),
            pl.col("k8s.pod.name") if topology.is_empty() else pl.lit(None, pl.String),
        ).alias("k8s.workload.name"),
        pl.coalesce("k8s.node.name", "node").alias("k8s.node.name"),
    ).with_columns(
        _mapped(pl.col("k8s.node.name"), zones).alias("cloud.availability_zone"),
    ).drop("node", "workload")  # fmt: skip


def _mapped(column: pl.Expr, mapping: Mapping[str, str]) -> pl.Expr:
    if not mapping:
        return pl.lit(None, pl.String)
    return column.replace_strict(list(mapping), list(mapping.values()), default=None, return_dtype=pl.String)


def _clients(frame: pl.DataFrame) -> pl.DataFrame:
    """(row, address, when): a client is who had the address when the row was written."""
    return frame.select("_row", pl.col("client.address").alias("address"), pl.col("_at").alias("at")).drop_nulls("address")


def _attempts(frame: pl.DataFrame) -> pl.DataFrame:
    """(row, address, when): one row an upstream attempt, dated to where the attempt began."""
    some = frame.filter(pl.col("upstream.address").list.len() > 0)
    waited = pl.when(pl.col("error.code") == ETIMEDOUT).then(CONNECT_TIMEOUT).otherwise(0)
    durations = pl.when(pl.col("upstream.duration").list.len() == pl.col("upstream.address").list.len()).then(
        pl.col("upstream.duration")
    )
    padded = pl.coalesce(durations, pl.lit(0.0).repeat_by(pl.col("upstream.address").list.len()))
    exploded = some.select(
        "_row",
        pl.col("upstream.address").alias("address"),
        padded.alias("took"),
        (pl.col("_at") - waited).alias("at"),
    ).explode("address", "took")
    remaining = (pl.col("took").fill_null(0.0) * 1e6).cast(pl.Int64, strict=False).fill_null(0)
    address = pl.col("address").str.replace(PORT, "${1}${2}")
    return exploded.select("_row", address, pl.col("at") - remaining.reverse().cum_sum().reverse().over("_row").clip(0, FORMER))


def _side(frame: pl.DataFrame, topology: Topology, side: str, lookups: pl.DataFrame, *, single: bool) -> pl.DataFrame:
    names = {**{part: f"{side}.{key}" for part, key in _KEY.items()}, "service": f"{side}.k8s.service.name"}
    if lookups.is_empty():
        types = columns.TOPOLOGY
        empty = [pl.lit(None, types[name]).alias(name) for name in (*names.values(), f"{side}.former")]
        return frame.with_columns(empty)
    owners = _owners(lookups, topology).rename(names).rename({"former": f"{side}.former"})
    if not single:
        owners = owners.group_by("_row", maintain_order=True).agg(pl.all())
    return frame.join(owners, on="_row", how="left", maintain_order="left")


def _owners(lookups: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The owner of each address at each time, in the order of `lookups`: columns `OWNER`, service, former."""
    asked = lookups.with_row_index("_n").sort("at", maintain_order=True)
    owned = asked.join_asof(
        topology.addresses(), left_on="at", right_on="from", by="address", strategy="backward", check_sortedness=False
    )
    member = asked.join_asof(
        topology.members(), left_on="at", right_on="from", by="address", strategy="backward", check_sortedness=False
    )
    fresh = pl.col("at") <= pl.col("until") + FORMER
    return (
        owned.with_columns(
            *(pl.when(fresh).then(pl.col(part)).alias(part) for part in OWNER),
            pl.when(fresh).then(pl.col("at") >= pl.col("until")).alias("former"),
            member.select(pl.when(fresh).then(pl.col("service")).alias("service"))["service"],
        )
        .sort("_n")
        .select("_row", *OWNER, "service", "former")
    )


def _service(frame: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The service a row is about, and its namespace: by backend name, then by address, then by host and path."""
    named = {name: found for name in _distinct(frame, "upstream.name") if (found := topology.backend(name)) is not None}
    hosts = _hosts(frame, topology)
    pair = pl.struct(pl.col("url.domain").fill_null(""), pl.col("url.path").fill_null("/"))
    frame = frame.with_columns(
        _mapped(pl.col("upstream.name"), {name: found[1] for name, found in named.items()}).alias("_named"),
        _mapped(pl.col("upstream.name"), {name: found[0] for name, found in named.items()}).alias("_named_in"),
        pl.concat_str(pair.struct.field("url.domain"), pl.lit(" "), pair.struct.field("url.path")).alias("_pair"),
    ).with_columns(
        _mapped(pl.col("_pair"), {pair_: found[1] for pair_, found in hosts.items()}).alias("_routed"),
        _mapped(pl.col("_pair"), {pair_: found[0] for pair_, found in hosts.items()}).alias("_routed_in"),
    )  # fmt: skip
    by_address = pl.col("upstream.k8s.service.name").list.drop_nulls().list.last()
    about = pl.coalesce("_named", by_address, "_routed")
    about_in = pl.coalesce("_named_in", pl.col("upstream.k8s.namespace.name").list.drop_nulls().list.last(), "_routed_in")
    if topology.is_empty():
        # Nobody told which services there are: the name by which a request was sent on is the best that is known.
        about, about_in = pl.coalesce("_named", "upstream.name", "url.domain"), pl.coalesce("_named_in", pl.lit(UNKNOWN))
    is_request = pl.any_horizontal(pl.col("upstream.name", "url.domain", "upstream.address").is_not_null())
    return frame.with_columns(
        pl.coalesce("k8s.service.name", pl.when(is_request).then(about)).alias("k8s.service.name"),
        _fill(frame, "upstream.k8s.service.name", pl.when(is_request).then(about)),
        _fill(frame, "upstream.k8s.namespace.name", pl.when(is_request & about.is_not_null()).then(about_in)),
    ).drop("_named", "_named_in", "_pair", "_routed", "_routed_in")


def _fill(frame: pl.DataFrame, name: str, value: pl.Expr) -> pl.Expr:
    """The upstream list, or where no attempt was made one element that says where the request was to go."""
    empty = pl.col(name).is_null() | (pl.col(name).list.drop_nulls().list.len() == 0)
    return pl.when(empty & value.is_not_null()).then(pl.concat_list(value)).otherwise(pl.col(name)).alias(name)


def _distinct(frame: pl.DataFrame, name: str) -> list[str]:
    return frame[name].unique().drop_nulls().to_list()


def _hosts(frame: pl.DataFrame, topology: Topology) -> dict[str, tuple[str, str]]:
    """`host path` to (namespace, service), for the distinct pairs of the frame."""
    routes = topology.routes()
    if not routes:
        return {}
    pairs = frame.select("url.domain", "url.path").filter(pl.col("url.domain").is_not_null()).unique()
    found: dict[str, tuple[str, str]] = {}
    for host, path in pairs.iter_rows():
        for prefix, namespace, service in routes.get(host.partition(":")[0], routes.get("*", [])):
            if (path or "/").startswith(prefix):
                found[f"{host} {path or '/'}"] = (namespace, service)
                break
    return found
