"""HAProxy: `option httplog`, `option tcplog`, the state of servers and backends, and the rest of its messages.

Shapes (HAProxy configuration manual, 8.2): `%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc
%ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r`, for TCP `%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc
%sq/%bq`. Each may stand behind a syslog header. Messages about servers are written twice, to standard error behind
`[WARNING]  (pid) :` and to the log without it; both are `haproxy.server`.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import PARSED
from pipeline.parsers import Cheap, Context, Format, nginx_text, text

_TIMERS: Final = ("request", "queue", "connect", "response", "total")
_CONNECTIONS: Final = ("process", "frontend", "backend", "server")

COLUMNS: Final[dict[str, pl.DataType]] = {
    "client.address": pl.String(),
    "http.request.method": pl.String(),
    "url.path": pl.String(),
    "url.domain": pl.String(),
    "http.response.bytes": pl.Int64(),
    "http.response.status_code": pl.Int64(),
    "event.duration": pl.Float64(),
    "bytes": pl.Int64(),
    "upstream.name": pl.String(),
    "error.message": pl.String(),
    "haproxy.frontend": pl.String(),
    "haproxy.server": pl.String(),
    "haproxy.termination_state": pl.String(),
    **{f"haproxy.time.{name}": pl.Int64() for name in _TIMERS},
    "haproxy.retries": pl.Int64(),
    "haproxy.redispatched": pl.Boolean(),
    **{f"haproxy.connections.{name}": pl.Int64() for name in _CONNECTIONS},
    "haproxy.queue.server": pl.Int64(),
    "haproxy.queue.backend": pl.Int64(),
    "haproxy.state": pl.String(),
    "haproxy.servers.active": pl.Int64(),
    "haproxy.servers.backup": pl.Int64(),
    "haproxy.check.result": pl.String(),
    "haproxy.check.status": pl.String(),
    "haproxy.check.code": pl.Int64(),
    "haproxy.check.info": pl.String(),
    "haproxy.check.duration": pl.Int64(),
    "haproxy.check.health": pl.String(),
}
"""`upstream.name` is the backend, `haproxy.server` the slot (`SRV_1`; null for `<NOSRV>`), `bytes` those of a TCP
session. `haproxy.time.*` and `haproxy.check.duration` are milliseconds, null where HAProxy writes -1: the phase was not
reached; `event.duration` is the total in seconds. `haproxy.state` is up, down, stopping, drain or maintenance of a
server, `empty` of a backend without any; `haproxy.check.status` is the reason of a check (`Layer7 wrong status`)."""

_HEAD: Final = (
    r"(?s)^(?:<(?P<priority>\d{1,3})>)?"
    r"(?:1 (?P<iso>\S+) \S+ haproxy\S* \S+ \S+ - "
    r"|(?P<date>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (?:\S+ )??haproxy[^\s\[:]*(?:\[\d+\])?: )?"
    r"(?:\[(?P<level>[A-Z]+)\] +(?:\d+/\d+ +)?\(\d+\) : )?(?P<text>.*)$"
)
_CLIENT: Final = (
    r"(?s)^(?P<client>[0-9A-Fa-f:.]+|unix):[0-9]+ "
    r"\[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8}\.[0-9]{3})\] "
)
_ROUTE: Final = r"(?P<frontend>[^\s/]+) (?P<backend>[A-Za-z0-9_.:-]+)/(?P<server>[^\s/]+) "
_COUNTS: Final = (
    r"(?P<process>\d+)/(?P<on_frontend>\d+)/(?P<on_backend>\d+)/(?P<on_server>\d+)/(?P<retries>\+?\d+) "
    r"(?P<server_queue>\d+)/(?P<backend_queue>\d+)"
)
_FIVE: Final = "/".join(rf"\+?(?P<{name}>-?[0-9]+)" for name in _TIMERS)
_THREE: Final = "/".join(rf"\+?(?P<{name}>-?[0-9]+)" for name in ("queue", "connect", "total"))
_HTTP: Final = (
    rf"{_CLIENT}{_ROUTE}{_FIVE} (?P<status>-1|[1-9][0-9]{{2}}) \+?(?P<bytes>\d+) [^ ]+ [^ ]+ (?P<state>[A-Za-z-]{{4}}) "
    rf'{_COUNTS}(?: \{{[^}}]*\}}){{0,2}} "(?P<line>[^"]*)'
)
_TCP: Final = rf"{_CLIENT}{_ROUTE}{_THREE} \+?(?P<bytes>\d+) (?P<state>[A-Za-z-]{{2}}) {_COUNTS}"
_IS_HTTP: Final = r"\.[0-9]{3}\] [^ /]+ [^ /]+/[^ /]+ [0-9+-]+/[0-9+-]+/[0-9+-]+/[0-9+-]+/[0-9+-]+ "
_REFUSED: Final = rf"{_CLIENT}(?P<frontend>[^\s/]+)/[^\s:]+: (?P<error>.+)$"
_SERVER: Final = (
    r"(?s)^(?:(?:Backup )?Server|Health check for (?:backup )?server) "
    r"(?P<backend>[^\s/]+)/(?P<server>\S+) (?P<said>.*)$"
)
_EMPTY: Final = r"^(?:backend|proxy) '?(?P<backend>[^\s']+)'? has no server available!"
_SNIFF: Final = (
    r"^(?:<\d{1,3}>)?(?:.{0,120}haproxy\S*: )?"
    r"(?:\S+:\d+ \[[^\]]+\] \S+ \S+/\S+ |Server \S+/\S+ is |\[[A-Z]+\] +(?:\d+/\d+ +)?\(\d+\) : )"
)
_DATE: Final = "%d/%b/%Y:%H:%M:%S%.f"
_OWN: Final = r"^(?:Proxy|Stopping|Pausing|Resuming|Loading|Reloading|New worker|Former worker|New program) "


def _count(value: pl.Expr) -> pl.Expr:
    number = value.str.strip_prefix("+").cast(pl.Int64, strict=False)
    return pl.when(number >= 0).then(number)


def _session(groups: pl.Expr) -> dict[str, pl.Expr]:
    """What HTTP and TCP lines share."""
    field = groups.struct.field
    named = ~field("server").str.starts_with("<")
    return {
        "event.time": nginx_text.local_time(field("time"), _DATE),
        "client.address": field("client"),
        # Polars divides a single row and a longer column differently in the last bit.
        "event.duration": (_count(field("total")) / 1000).round(3),
        "upstream.name": field("backend"),
        "haproxy.frontend": field("frontend").str.strip_suffix("~"),
        "haproxy.server": pl.when(named).then(field("server")),
        "haproxy.termination_state": field("state"),
        "haproxy.retries": _count(field("retries")),
        "haproxy.redispatched": field("retries").str.starts_with("+"),
        "haproxy.connections.process": _count(field("process")),
        **{f"haproxy.connections.{name}": _count(field(f"on_{name}")) for name in _CONNECTIONS[1:]},
        "haproxy.queue.server": _count(field("server_queue")),
        "haproxy.queue.backend": _count(field("backend_queue")),
    }


def _http(groups: pl.Expr) -> dict[str, pl.Expr]:
    field = groups.struct.field
    return {
        "source": pl.when(field("client").is_not_null()).then(pl.lit("haproxy.http")),
        **_session(groups),
        **nginx_text.request(field("line"), schemeless=True),
        "http.response.bytes": _count(field("bytes")),
        "http.response.status_code": _count(field("status")),
        **{f"haproxy.time.{name}": _count(field(name)) for name in _TIMERS},
    }


def _tcp(groups: pl.Expr) -> dict[str, pl.Expr]:
    field = groups.struct.field
    return {
        "source": pl.when(field("client").is_not_null()).then(pl.lit("haproxy.tcp")),
        **_session(groups),
        "bytes": _count(field("bytes")),
        **{f"haproxy.time.{name}": _count(field(name)) for name in ("queue", "connect", "total")},
    }


def _state(said: pl.Expr) -> pl.Expr:
    """The state a server has from now on; what the controllers do to their slots is maintenance, not down."""
    # What the health check quotes behind the reason may hold any word.
    change = said.str.splitn(", reason: ", 2).struct.field("field_0")
    words = {
        "(leaving forced": "up",
        "administratively READY": "up",
        "maintenance": "maintenance",
        "drain": "drain",
        "is stopping": "stopping",
        "is DOWN": "down",
        "is UP": "up",
    }
    return pl.coalesce(pl.when(change.str.contains(word, literal=True)).then(pl.lit(to)) for word, to in words.items())


def _server(groups: pl.Expr) -> dict[str, pl.Expr]:
    said = groups.struct.field("said")
    checked = said.str.extract(r"^(failed|succeeded)\b", 1)
    return {
        "source": pl.when(said.is_not_null()).then(pl.lit("haproxy.server")),
        "upstream.name": groups.struct.field("backend"),
        "haproxy.server": groups.struct.field("server"),
        "haproxy.state": _state(said),
        "haproxy.servers.active": said.str.extract(r"(\d+) active and \d+ backup servers ", 1),
        "haproxy.servers.backup": said.str.extract(r"\d+ active and (\d+) backup servers ", 1),
        "haproxy.check.result": checked,
        "haproxy.check.status": said.str.extract(r", reason: ([^,.]+)", 1),
        "haproxy.check.code": said.str.extract(r", code: (\d+)", 1),
        "haproxy.check.info": said.str.extract(r', info: "([^"]*)"', 1),
        "haproxy.check.duration": said.str.extract(r", check duration: (\d+)ms", 1),
        "haproxy.check.health": said.str.extract(r", status: (\d+/\d+ [A-Z]+)", 1),
    }


def _empty(groups: pl.Expr) -> dict[str, pl.Expr]:
    backend = groups.struct.field("backend")
    return {
        "source": pl.when(backend.is_not_null()).then(pl.lit("haproxy.server")),
        "upstream.name": backend,
        "haproxy.state": pl.when(backend.is_not_null()).then(pl.lit("empty")),
    }


def _refused(groups: pl.Expr) -> dict[str, pl.Expr]:
    """The short format of connections that failed before any request, mostly in the TLS handshake."""
    field = groups.struct.field
    return {
        "source": pl.when(field("error").is_not_null()).then(pl.lit("haproxy.log")),
        "event.time": nginx_text.local_time(field("time"), _DATE),
        "client.address": field("client"),
        "haproxy.frontend": field("frontend").str.strip_suffix("~"),
        "error.message": field("error"),
    }


def _rest(head: pl.Expr, context: Context) -> dict[str, pl.Expr]:
    """Any other message, told by its header or its first words; also the level and the time that a header gives."""
    field = head.struct.field
    headed = pl.any_horizontal(field(name).is_not_null() for name in ("priority", "iso", "date", "level"))
    own = headed | field("text").str.contains(_OWN)
    level = text.level(field("level").replace("DIAG", "debug"))
    time = [text.timestamp(field("iso")), text.yearless(field("date"), "%b %e %H:%M:%S", context.now)]
    return {
        "source": pl.when(own).then(pl.lit("haproxy.log")),
        "log.level": pl.coalesce(level, text.severity(field("priority").cast(pl.Int64, strict=False) % 8)),
        "event.time": pl.coalesce(*time, text.timestamp(field("date"))),
    }


def parse(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    """`message` to `PARSED` and `COLUMNS`, row by row; a line that is none of the kinds is null throughout."""
    body = pl.col("head").struct.field("text").str
    split = frame.select(head=pl.col("message").str.extract_groups(_HEAD)).with_columns(
        http=body.extract_groups(_HTTP),
        tcp=body.extract_groups(_TCP),
        server=body.extract_groups(_SERVER),
        empty=body.extract_groups(_EMPTY),
        refused=body.extract_groups(_REFUSED),
    )
    kinds = [_http(pl.col("http")), _tcp(pl.col("tcp")), _server(pl.col("server")), _empty(pl.col("empty"))]
    kinds += [_refused(pl.col("refused")), _rest(pl.col("head"), context)]
    return split.select(nginx_text.coalesced(kinds, PARSED | COLUMNS))


_SESSION: Final = pl.when(pl.col("record").str.contains(_IS_HTTP)).then(
    pl.col("record").str.splitn("] ", 2).struct.field("field_1")
)
"""The text behind the date, on HTTP lines only: five timers tell them from TCP and the rest."""
_TIMED: Final = pl.col("_session").str.splitn("/", 6)
"""Frontend and backend, server and the first timer, three more timers, and what begins with the last."""
_WORDS: Final = pl.col("_timed").struct.field("field_5").str.splitn(" ", 7)


def _word(index: int) -> pl.Expr:
    return pl.col("_words").struct.field(f"field_{index}")


_NAME: Final = pl.col("_timed").struct.field("field_0").str.splitn(" ", 2).struct.field("field_1")

FORMAT: Final = Format(
    name="haproxy",
    columns=COLUMNS,
    sources=("haproxy.http", "haproxy.tcp", "haproxy.server", "haproxy.log"),
    parse=parse,
    verbatim=frozenset(name for name, dtype in COLUMNS.items() if dtype == pl.String and name != "haproxy.state"),
    pieces=({"_session": _SESSION}, {"_timed": _TIMED}, {"_words": _WORDS}),
    cheap={
        "http.response.status_code": Cheap("haproxy.http", _word(1), "[1-9][0-9]{2}", pl.Int64(), few=True),
        "haproxy.termination_state": Cheap("haproxy.http", _word(5), "[A-Za-z-]{4}", few=True),
        "upstream.name": Cheap("haproxy.http", _NAME, "[A-Za-z0-9_.:-]+", few=True),
    },
    containers=("haproxy.*", "kubernetes-ingress-controller"),
    images=("(?:.*/)?haproxy[^/]*", "haproxytech/.*"),
    apps=("haproxy.*",),
    processes=("haproxy.*",),
    sniff=_SNIFF,
)
