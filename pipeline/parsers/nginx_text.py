"""What the parsers of nginx and its relatives share: request lines, upstream lists and the error log.

Shapes: nginx `ngx_http_log_module` (its default escaping leaves only printable ASCII, and no quote or backslash),
`ngx_http_upstream_module` (attempts are parted by `, `, internal redirects by ` : `) and the error log, whose details
follow the text in a fixed order: client, server, request, subrequest, upstream, host, referrer. The functions take and
give Polars expressions.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from pipeline.parsers import text

Fields = Mapping[str, pl.Expr]

ERROR_COLUMNS: Final[dict[str, pl.DataType]] = {
    "client.address": pl.String(),
    "http.request.method": pl.String(),
    "url.path": pl.String(),
    "url.domain": pl.String(),
    "upstream.name": pl.String(),
    "upstream.address": pl.List(pl.String()),
    "upstream.port": pl.List(pl.Int64()),
    "error.message": pl.String(),
    "error.code": pl.Int64(),
    "nginx.phase": pl.String(),
    "nginx.connection": pl.Int64(),
}
"""What an error line may yield. `error.message` is the text before the details, `error.code` the errno in it."""

COMBINED: Final = (
    r"(?P<client>[!#-~]+) - (?P<user>[ !#-~]*?) \[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\] "
    r'"(?P<request>(?:[!#-~][ !#-~]*)?)" (?P<status>[0-9]{3}) (?P<bytes>[0-9]{1,18}) '
    r'"(?P<referrer>(?:[^" ][^"]*)?)" "(?P<agent>(?:[^" ][^"]*)?)"'
)
"""nginx's predefined `combined` format. No value begins with a space, so a quote before a space ends a field; up to the
end of the request only ASCII is taken, as escaping leaves it."""

ERROR_SNIFF: Final = r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[[a-z]+\] \d+#\d+: "

_LEVEL: Final = "debug|info|notice|warn|error|crit|alert|emerg"
_ERROR: Final = (
    rf"(?s)^(?:(?P<time>\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>{_LEVEL})\] \d+#\d+: (?:\*(?P<connection>\d+) )?"
    rf"|nginx: (?:\[(?P<early>{_LEVEL})\] )?)(?P<text>.*)$"
)
_TIMED_OUT: Final = 110
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)"
_ADDRESS: Final = r"^(unix:.*|\[[^\]]*\]|[^:]+)(?::\d*)?$"
_IP: Final = r"^(?:[0-9]+(?:\.[0-9]+){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$"


def present(value: pl.Expr) -> pl.Expr:
    """Null for what nginx writes where there is no value: `-` and nothing."""
    return pl.when(~value.is_in(["", "-"])).then(value)


def local_time(value: pl.Expr, form: str = "%d/%b/%Y:%H:%M:%S %z") -> pl.Expr:
    """`$time_local` (`23/Nov/2026:04:22:23 +0000`), or a String in another chrono form, to UTC; null if implausible."""
    time = value.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
    # Polars reads years that Python cannot hold.
    return pl.when(time.dt.year().is_between(1970, 2261)).then(time)


def request(line: pl.Expr, *, schemeless: bool = False) -> dict[str, pl.Expr]:
    """A request line to method, path without query and, of an absolute target, the host without port; all String.

    `schemeless` reads `host/path` as well, which is how HAProxy's controllers write it. Null where the line is no HTTP
    request: binary junk of TLS on a plain port, `<BADREQ>`, nothing at all.
    """
    target = line.str.extract(r"(?s)^[A-Z][A-Z_-]* (.+?)(?: HTTP/[0-9.]+)?$", 1)
    scheme = r"(?:[a-z]+://)?" if schemeless else r"[a-z]+://"
    return {
        "http.request.method": line.str.extract(r"^([A-Z][A-Z_-]*) ", 1),
        "url.path": target.str.extract(rf"(?s)^(?:{scheme}{_HOST}(?::\d+)?)?(/[^?]*)", 1),
        "url.domain": target.str.extract(rf"^{scheme}({_HOST})(?::\d+)?(?:[/?]|$)", 1),
    }


def attempts(values: pl.Expr, peers: pl.Expr) -> pl.Expr:
    """`$upstream_*` to List(String) with an element for each in `$upstream_addr`; null where that is `-`, no attempt.

    A value of `-` alone is not enough: so looks the status of an attempt that was never answered.
    """
    listed = _listed(values).list.gather(pl.int_ranges(_listed(peers).list.len()), null_on_oob=True)
    return pl.when(peers != "-").then(listed.list.eval(present(pl.element())))


def _listed(values: pl.Expr) -> pl.Expr:
    return values.str.replace_all(" : ", ", ", literal=True).str.split(", ")


def addresses(peers: pl.Expr) -> dict[str, pl.Expr]:
    """Peers `ip:port`, `[ip6]:port` or `unix:/path` (List(String)) to the lists of addresses and of ports."""
    host = pl.element().str.extract(_ADDRESS, 1).str.strip_chars("[]")
    port = pl.element().str.extract(r"^[^u].*:(\d{1,5})$", 1).cast(pl.Int64, strict=False)
    return {"upstream.address": peers.list.eval(host), "upstream.port": peers.list.eval(port)}


def numbers(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """List(String) to a list of numbers, null where an element is none."""
    return values.list.eval(pl.element().cast(dtype, strict=False))


def error_groups(message: pl.Expr) -> pl.Expr:
    """The parts of an error line as a struct (time, level, connection, early, text); all null where it is none."""
    return message.str.extract_groups(_ERROR)


def error_fields(groups: pl.Expr, source: str) -> dict[str, pl.Expr]:
    """`PARSED` and `ERROR_COLUMNS` of an error line, from what `error_groups` gave; times count as UTC.

    nginx writes errno as `(110: ...)`; the number is taken because its words differ between glibc and musl. A failed
    look-up has a DNS response code in the same place, OpenSSL's `(10:certificate ...)` no space: neither is errno.
    """
    whole = groups.struct.field("text").str.replace(", udp client: ", ", client: ", literal=True)
    parts = whole.str.splitn(", client: ", 2)
    said, details = parts.struct.field("field_0"), parts.struct.field("field_1")
    code = said.str.extract(r"\((\d{1,9}): [^()]*\)(?: while [^\"()]*)?$", 1).cast(pl.Int64, strict=False)
    lookup = said.str.contains("could not be resolved (", literal=True) & (code != _TIMED_OUT)
    return {
        "source": pl.when(said.is_not_null()).then(pl.lit(source)),
        "log.level": text.level(pl.coalesce(groups.struct.field("level"), groups.struct.field("early"))),
        "event.time": text.timestamp(groups.struct.field("time")),
        "client.address": details.str.extract(r"^([0-9A-Fa-f:.]+|unix:)", 1),
        "error.message": said,
        "error.code": pl.when(~lookup).then(code),
        "nginx.phase": said.str.extract(r" while ([A-Za-z0-9/_ -]+)$", 1),
        "nginx.connection": groups.struct.field("connection").cast(pl.Int64, strict=False),
        **_request_details(details),
        **_upstream_details(details),
    }


def _request_details(details: pl.Expr) -> dict[str, pl.Expr]:
    # The error log does not escape: a quote inside the request is told from its end by what follows.
    line = details.str.extract(r', request: "(.*?)"(?:, (?:subrequest|upstream|host|referrer): "|$)', 1)
    fields = request(line)
    host = details.str.extract(rf', host: "({_HOST})(?::\d+)?"', 1)
    # A listener's address stands here before the request is known, `_` is the server without a name.
    server = details.str.extract(r"^[^,]*, server: ([0-9.*_-]*[A-Za-z][A-Za-z0-9._*-]*)(?:,|$)", 1)
    return {**fields, "url.domain": pl.coalesce(host, fields["url.domain"], server)}


def _upstream_details(details: pl.Expr) -> dict[str, pl.Expr]:
    # The first one: what a client can put into the referrer comes later.
    peer = details.str.extract(r', upstream: "(?:[a-z]+://)?(unix:[^:"]+|\[[^\]"]*\](?::\d+)?|[^/"]+)', 1)
    host = peer.str.extract(_ADDRESS, 1).str.strip_chars("[]")
    port = peer.str.extract(r"^[^u].*:(\d{1,5})$", 1).cast(pl.Int64, strict=False)
    known = host.str.contains(_IP) | host.str.starts_with("unix:")
    return {
        "upstream.name": pl.when(~known).then(host),
        "upstream.address": pl.when(known).then(pl.concat_list(host)),
        "upstream.port": pl.when(known).then(pl.concat_list(port)),
    }


def coalesced(kinds: Sequence[Fields], schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """One expression a column of `schema`: the value of the first kind of line that has one."""
    return [
        pl.coalesce([*(kind[name] for kind in kinds if name in kind), pl.lit(None)]).cast(dtype, strict=False).alias(name)
        for name, dtype in schema.items()
    ]
