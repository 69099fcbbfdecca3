"""ingress-nginx: access lines in the default format `upstreaminfo`, nginx's error log and the controller's klog lines.

Access: `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
"$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name]
$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id` (ingress-nginx, log-format).
The lists `upstream.*` have one element an attempt. They are null where nginx answered itself (`-`); an attempt that
failed before nginx knew the peer (`socket() failed`) is written as nothing and is one null element.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from pipeline.model.columns import PARSED
from pipeline.parsers import Cheap, Context, Format, nginx_text, text

COLUMNS: Final[dict[str, pl.DataType]] = {
    **nginx_text.ERROR_COLUMNS,
    "http.request.bytes": pl.Int64(),
    "http.request.id": pl.String(),
    "http.response.bytes": pl.Int64(),
    "http.response.status_code": pl.Int64(),
    "event.duration": pl.Float64(),
    "upstream.status": pl.List(pl.Int64()),
    "upstream.duration": pl.List(pl.Float64()),
    "upstream.bytes": pl.List(pl.Int64()),
    "user_agent.original": pl.String(),
    "nginx.alternative": pl.String(),
}
"""`nginx.alternative` is the canary backend that took the request instead of `upstream.name`; durations are seconds."""

_SNIFF: Final = r'^\S+ - .* \[[^\]]+\] "[^"]*" \d{3} \d+ "[^"]*" "[^"]*" \d+ \d+\.\d+ \[[^\]]*\] \[[^\]]*\] '
_PEER: Final = r"(?:-|(?:[0-9]+(?:\.[0-9]+){3}|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]):[0-9]{1,5})?"


def _list(name: str, element: str) -> str:
    return f"(?P<{name}>{element}(?:(?:, | : ){element})*)"


_ACCESS: Final = " ".join(
    [
        rf"(?s)^{nginx_text.COMBINED}",
        r"(?P<length>[0-9]{1,18}) (?P<duration>[0-9]{1,9}\.[0-9]{3})",
        r"\[(?P<name>[A-Za-z0-9.-]*)\] \[(?P<alternative>[^\]]*)\]",
        _list("peers", _PEER),
        _list("lengths", "(?:-|[0-9]*)"),
        _list("times", "(?:-|[0-9.]*)"),
        _list("codes", "(?:-|[0-9]*)") + "(?: (?P<id>.*))?$",
    ]
)
_KLOG: Final = r"^(?P<level>[IWEF])(?P<time>\d{4} \d\d:\d\d:\d\d\.\d{6}) +\d+ [^\s:\]]+:\d+\] "

_PLACEHOLDER: Final = "upstream_balancer"
"""The one upstream group in ingress-nginx's configuration: it names no backend."""


def _tried(values: pl.Expr, peers: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return nginx_text.numbers(nginx_text.attempts(values, peers), dtype)


def _access(groups: pl.Expr) -> dict[str, pl.Expr]:
    field = groups.struct.field
    peers = field("peers")
    return {
        "source": pl.when(field("status").is_not_null()).then(pl.lit("ingress-nginx.access")),
        "event.time": nginx_text.local_time(field("time")),
        "client.address": field("client"),
        **nginx_text.request(field("request")),
        "http.request.bytes": field("length").cast(pl.Int64, strict=False),
        "http.request.id": nginx_text.present(field("id")),
        "http.response.bytes": field("bytes").cast(pl.Int64, strict=False),
        "http.response.status_code": field("status").cast(pl.Int64, strict=False),
        "event.duration": field("duration").cast(pl.Float64, strict=False),
        "upstream.name": nginx_text.present(field("name")),
        **nginx_text.addresses(nginx_text.attempts(peers, peers)),
        "upstream.status": _tried(field("codes"), peers, pl.Int64()),
        "upstream.duration": _tried(field("times"), peers, pl.Float64()),
        "upstream.bytes": _tried(field("lengths"), peers, pl.Int64()),
        "user_agent.original": nginx_text.present(field("agent")),
        "nginx.alternative": nginx_text.present(field("alternative")),
    }


def _error(groups: pl.Expr) -> dict[str, pl.Expr]:
    fields = nginx_text.error_fields(groups, "ingress-nginx.error")
    name = fields["upstream.name"]
    return {**fields, "upstream.name": pl.when(name != _PLACEHOLDER).then(name)}


def _controller(groups: pl.Expr, context: Context) -> dict[str, pl.Expr]:
    level = groups.struct.field("level")
    return {
        "source": pl.when(level.is_not_null()).then(pl.lit("ingress-nginx.controller")),
        "log.level": text.level(level),
        "event.time": text.yearless(groups.struct.field("time"), "%m%d %H:%M:%S%.f", context.now),
    }


def parse(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    """`message` to `PARSED` and `COLUMNS`, row by row; a line that is none of the three kinds is null throughout."""
    message = pl.col("message")
    split = frame.select(
        access=message.str.extract_groups(_ACCESS),
        error=nginx_text.error_groups(message),
        klog=message.str.extract_groups(_KLOG),
    )
    kinds = [
        _access(pl.col("access")),
        _error(pl.col("error")),
        _controller(pl.col("klog"), context),
    ]
    return split.select(nginx_text.coalesced(kinds, PARSED | COLUMNS))


_QUOTED: Final = pl.col("record").str.splitn('" ', 4)
"""Up to the request, status and referrer, user agent, and the rest. Quotes inside the fields are escaped by nginx."""
_REST: Final = pl.col("_quoted").struct.field("field_3").str.splitn(" ", 6)
"""Length, duration, `[name]`, `[alternative]`, the first peer, and what follows it."""


def _rest(index: int) -> pl.Expr:
    return pl.col("_rest").struct.field(f"field_{index}")


def _answer(words: pl.Expr) -> pl.Expr:
    # Other programs' access lines have a status in the same place, but not the two names in brackets.
    return pl.when(_rest(2).str.starts_with("[") & _rest(3).str.starts_with("[")).then(words)


def _last_peer(columns: Sequence[pl.Series]) -> pl.Series:
    """The last of several attempts: few rows have more than one, so those alone are looked at again."""
    peers, rest = columns
    several = (peers.str.ends_with(",") | rest.str.starts_with(": ")).fill_null(value=False).arg_true()
    if several.is_empty():
        return peers
    # The list ends at the first space that belongs to no separator; nothing behind it is looked at, as the request id at
    # the end of the line may be the client's.
    whole = pl.DataFrame({"list": peers.gather(several) + " " + rest.gather(several)})
    listed = pl.col("list").str.head(pl.col("list").str.find("[^,: ] [^:]") + 1)
    return peers.scatter(several, whole.select(listed.str.split(" ").list.last()).to_series())


def _host(peer: pl.Expr) -> pl.Expr:
    return peer.str.strip_chars_end("0123456789").str.strip_suffix(":").str.strip_chars("[]")


_STATUS: Final = _answer(pl.col("_quoted").struct.field("field_1").str.head(3))
_BYTES: Final = _answer(pl.col("_quoted").struct.field("field_1").str.splitn(" ", 3).struct.field("field_1"))
_PEERS: Final = pl.map_batches([_rest(4), _rest(5)], _last_peer, return_dtype=pl.String, is_elementwise=True)


FORMAT: Final = Format(
    name="ingress-nginx",
    columns=COLUMNS,
    sources=("ingress-nginx.access", "ingress-nginx.error", "ingress-nginx.controller"),
    pods=(r".*ingress-nginx-controller-.*", r"nginx-ingress-controller-.*"),
    parse=parse,
    verbatim=frozenset(name for name, dtype in COLUMNS.items() if dtype == pl.String),
    pieces=({"_quoted": _QUOTED}, {"_rest": _REST}),
    cheap={
        "http.response.status_code": Cheap("ingress-nginx.access", _STATUS, "[0-9]{3}", pl.Int64(), few=True),
        "http.response.bytes": Cheap("ingress-nginx.access", _BYTES, "[0-9]{1,18}", pl.Int64()),
        "event.duration": Cheap("ingress-nginx.access", _answer(_rest(1)), r"[0-9]{1,9}\.[0-9]{3}", pl.Float64()),
        "upstream.name": Cheap(
            "ingress-nginx.access",
            _rest(2),
            "[A-Za-z0-9.-]{2,}|[A-Za-z0-9.]",
            few=True,
            finish=lambda name: name.str.extract(r"^\[(.*)\]$", 1),
        ),
        # One String, the address of the last attempt, where the full parse gives the list of all.
        "upstream.address": Cheap(
            "ingress-nginx.access", _answer(_PEERS), r"[0-9]+(?:\.[0-9]+){3}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", finish=_host
        ),
    },
    everyday=(
        '10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "https://" "Mozilla/5.0" 1 0.001 [x] [] 10.0.0.1:80',
        '10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "POST / HTTP/2.0" 200 1 "-" "Go-http-client/2.0" 1 0.001 [x] [] 10.0.0.1:80',
    ),
    containers=("(?:rke2-)?ingress-nginx-controller", "nginx-ingress-controller"),
    images=("(?:.*/)?ingress-nginx/controller(?:-chroot)?", "(?:.*/)?nginx-ingress-controller"),
    apps=("(?:rke2-)?ingress-nginx(?:-controller)?",),
    sniff=_SNIFF,
    priority=20,
)
