"""All that a CoreDNS or node-cache container prints, told apart by the kind of row.

`coredns.query` is the `log` plugin's line in its default format, `coredns.error` the `errors` plugin's line about a
failed query, `coredns.plugin` any other `[LEVEL] plugin/x: ` line, and `coredns.log` the rest: banners, signals,
reloads, start-up errors, panics with their stack, and client-go's klog lines of before 1.9.4.

Versions differ in how a query is logged that got no reply: `NOERROR -` before 1.8.5, `- -` until 1.14.4, then
`SERVFAIL qr,rd`. The columns keep what was printed; flags `-` mean that no reply was written, whatever the code says.
Old builds put a time before the level, new ones print none. Names are lower case because CoreDNS prints them so.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from pipeline.model import columns
from pipeline.parsers import Cheap, Context, Format, text

_TYPES: Final = (
    "A NS MD MF CNAME SOA MB MG MR NULL PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY PX GPOS "
    "AAAA LOC NXT EID NIMLOC SRV ATMA NAPTR KX CERT DNAME OPT APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 "
    "NSEC3PARAM TLSA SMIMEA HIP NINFO RKEY TALINK CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS SPF UINFO UID GID "
    "UNSPEC NID L32 L64 LP EUI48 EUI64 NXNAME TKEY TSIG IXFR AXFR MAILB MAILA ANY URI CAA AVC AMTRELAY RESINFO WALLET "
    "TA DLV"
)

# Shared by both faces, so that a slice is valid exactly where the full parse takes the line. The types are spelt out,
# and codes given as numbers have two digits at most, so that `"GET / HTTP/1.1" 200` is no query; a name with `#` is
# none because a link in the loop plugin's message would be one. All is ASCII: byte and character offsets agree.
_TYPE: Final = "(?:" + "|".join(_TYPES.split()) + "|TYPE[0-9]{1,5})"
_V4: Final = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_V6: Final = "[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{0,30}:[0-9A-Fa-f:.]{0,15}(?:%[0-9A-Za-z_.-]{1,15})?"
_ADDRESS: Final = f"(?:{_V4}|{_V6})"
_NAME: Final = r'[!"$-~]*\.'
_RCODE: Final = "(?:[A-Z][A-Z0-9]{1,9}|[0-9]{1,2}|-)"
_FLAG: Final = "(?:qr|aa|tc|rd|ra|z|ad|cd)"
_FLAGS: Final = f"(?:{_FLAG}(?:,{_FLAG}){{0,7}}|-)"

_HEAD: Final = (
    r"(?s)^(?:(?P<time>[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9:.]{8,18}(?:Z|[+-][0-9:]{4,6})?) )?"
    r"\[(?P<level>DEBUG|INFO|WARNING|ERROR|FATAL)\] (?:plugin/(?P<plugin>[A-Za-z0-9_-]+): )?(?P<rest>.*)$"
)
_QUERY: Final = (
    rf"^\[?(?P<address>{_ADDRESS})\]?:(?P<port>[0-9]{{1,5}}) - [0-9]{{1,5}} "
    rf'"(?P<type>{_TYPE}) (?P<class>[A-Z][A-Z0-9]*) (?P<name>{_NAME}) (?P<transport>udp|tcp) [0-9]+ [a-z]+ [0-9]+" '
    rf'(?P<rcode>{_RCODE}) (?P<flags>{_FLAGS}) (?P<size>[0-9]+) (?P<duration>[0-9][^\s"]*)(?: "[0-9]+")?\s*$'
)
_FAILED: Final = r"(?s)^(?P<rcode>\d{1,4}) (?P<name>\S*) (?P<type>[A-Z][A-Z0-9-]*): (?P<error>.+)$"
_FOLDED: Final = r"(?s)^\d+ errors? like '.*' occurred in last \S+"
_UPSTREAM: Final = rf"(?:->|(?:dial|select|connect) (?:udp|tcp)[46]? )\[?({_ADDRESS})\]?:\d{{1,5}}: "
_KLOG: Final = r"^([IWEF])(\d{4} \d\d:\d\d:\d\d\.\d+) +\d+ [^\s\]]+:\d+\]"

_DEADLY: Final = (
    r"^(?:plugin/[A-Za-z0-9_-]+: |\S*:\d+ - Error during parsing: |(?:loading Caddyfile via flag: )?open \S+: |"
    r"listen (?:tcp|udp)|panic: |fatal error: |runtime: (?:out of memory|goroutine stack exceeds))"
)
_QUIET: Final = (
    r"^(?:CoreDNS-\d|(?:linux|windows|darwin|freebsd)/\w+, go\d|maxprocs: |"
    r"(?:[a-z]+://)?(?:[A-Za-z0-9_-]+\.)*\.?:\d{1,5}(?: on \S+)?$|"
    r"goroutine \d+ |\[signal |created by |exit status \d|runtime[ :.]|\s+\S+\.(?:go|s):\d+|"
    r"[\w./*()\[\]-]+\([0-9a-fx,{} .?]*\)$)"
)

_COLUMNS: Final[dict[str, pl.DataType]] = {
    "client.address": pl.String(),
    "client.port": pl.Int64(),
    "dns.question.name": pl.String(),
    "dns.question.type": pl.String(),
    "dns.question.class": pl.String(),
    "network.transport": pl.String(),
    "dns.response_code": pl.String(),
    "dns.flags": pl.String(),
    "dns.response.size": pl.Int64(),
    "event.duration": pl.Float64(),
    "server.address": pl.String(),
    "error.message": pl.String(),
    "coredns.plugin": pl.String(),
}


def parse(lines: pl.DataFrame, context: Context) -> pl.DataFrame:
    """One row a line; all columns null where the line is nothing that CoreDNS prints."""
    message = pl.col("message")
    head = lines.select(
        message,
        message.str.extract_groups(_HEAD).alias("head"),
        message.str.extract_groups(_KLOG).alias("klog"),
    ).unnest("head")
    rest, plain = pl.col("rest"), pl.col("plugin").is_null()
    failure = pl.when(pl.col("plugin") == "errors").then(rest).when(plain & (pl.col("level") == "ERROR")).then(rest)
    body = head.with_columns(
        pl.when(plain).then(rest).str.extract_groups(_QUERY).alias("query"),
        failure.str.extract_groups(_FAILED).alias("failed"),
        pl.when(failure.str.contains(_FOLDED)).then(rest).alias("folded"),
    )
    return body.with_columns(_kind().alias("source")).select(*_common(context), *_values())


def _kind() -> pl.Expr:
    message = pl.col("message")
    failed = pl.col("failed").struct.field("error").is_not_null() | pl.col("folded").is_not_null()
    known = pl.col("level").is_not_null() | pl.col("klog").struct.field("1").is_not_null()
    return (
        pl.when(pl.col("query").struct.field("address").is_not_null())
        .then(pl.lit("coredns.query"))
        .when(failed)
        .then(pl.lit("coredns.error"))
        .when(pl.col("plugin").is_not_null())
        .then(pl.lit("coredns.plugin"))
        .when(known | message.str.contains(_DEADLY) | message.str.contains(_QUIET))
        .then(pl.lit("coredns.log"))
    )


def _common(context: Context) -> list[pl.Expr]:
    letter, stamp = (pl.col("klog").struct.field(name) for name in ("1", "2"))
    # A start-up error or a panic carries no level, and ends the process.
    deadly = pl.when(pl.col("message").str.contains(_DEADLY)).then(pl.lit("fatal"))
    written = text.level(pl.coalesce("level", letter))
    time = pl.coalesce(text.timestamp(pl.col("time")), text.yearless(stamp, "%m%d %H:%M:%S%.f", context.now))
    return [
        pl.col("source"),
        pl.coalesce(written, deadly).alias("log.level"),
        time.cast(columns.TIME).alias("event.time"),
    ]


def _values() -> list[pl.Expr]:
    query, failed = pl.col("query").struct, pl.col("failed").struct
    error = pl.coalesce(failed.field("error"), "folded")
    spoken = pl.when((pl.col("source") != "coredns.query") & pl.col("level").is_in(["ERROR", "FATAL"])).then("rest")
    died = pl.when(pl.col("message").str.contains(_DEADLY)).then("message")
    values = {
        "client.address": query.field("address"),
        "client.port": query.field("port").cast(pl.Int64, strict=False),
        "dns.question.name": pl.coalesce(query.field("name"), failed.field("name")),
        "dns.question.type": pl.coalesce(query.field("type"), failed.field("type")),
        "dns.question.class": query.field("class"),
        "network.transport": query.field("transport"),
        "dns.response_code": query.field("rcode"),
        "dns.flags": query.field("flags"),
        "dns.response.size": query.field("size").cast(pl.Int64, strict=False),
        "event.duration": text.duration(query.field("duration")),
        "server.address": error.str.extract(_UPSTREAM, 1),
        "error.message": pl.coalesce(error, spoken, died),
        "coredns.plugin": pl.when(pl.col("source") == "coredns.plugin").then("plugin"),
    }
    return [values[name].alias(name) for name in _COLUMNS]


def _behind(mark: str, length: int | None = None) -> pl.Expr:
    """The text behind the first `mark`, so many characters of it."""
    record = pl.col("record").str
    return record.slice(record.find(mark, literal=True) + len(mark), length)


def _word(piece: str, index: int) -> pl.Expr:
    return pl.col(piece).struct.field(f"field_{index}")


_ANSWER: Final = _behind('" ', 48).str.splitn(" ", 3)
_CODE: Final = _behind('" ', 12).str.splitn(" ", 2)
_PEER: Final = _behind("[INFO] ", 64)
_SHORTEST: Final = len("1.1.1.1")
_KIND: Final = _behind('"', 24).str.splitn(" ", 2)
_QUESTION: Final = _behind('"').str.splitn(" ", 4)


def _client(columns: Sequence[pl.Series]) -> pl.Series:
    """The address without its port, which is another for every query: rows are grouped by the address.

    What stands before the first colon is too short where the address is IPv6; those rows alone are looked at again.
    """
    (peers,) = columns
    addresses = peers.to_frame("peer").select(pl.col("peer").str.splitn(":", 2).struct.field("field_0")).to_series()
    others = (addresses.str.len_bytes() < _SHORTEST).fill_null(value=False).arg_true()
    if others.is_empty():
        return addresses
    words = peers.gather(others).to_frame("peer").select(pl.col("peer").str.splitn(" ", 2).struct.field("field_0")).to_series()
    hosts = words.str.strip_chars_end("0123456789").str.strip_suffix(":")
    return addresses.scatter(others, hosts)


_ASKING: Final = pl.map_batches([pl.col("_peer")], _client, return_dtype=pl.String, is_elementwise=True)


FORMAT: Final = Format(
    name="coredns",
    columns=_COLUMNS,
    sources=("coredns.query", "coredns.error", "coredns.plugin", "coredns.log"),
    parse=parse,
    verbatim=frozenset(name for name, dtype in _COLUMNS.items() if dtype == pl.String()),
    pieces=({"_answer": _ANSWER, "_code": _CODE, "_peer": _PEER, "_kind": _KIND, "_question": _QUESTION},),
    cheap={
        "dns.response_code": Cheap("coredns.query", _word("_code", 0), _RCODE, few=True),
        "dns.flags": Cheap("coredns.query", _word("_answer", 1), _FLAGS, few=True),
        "dns.question.type": Cheap("coredns.query", _word("_kind", 0), _TYPE, few=True),
        "dns.question.name": Cheap("coredns.query", _word("_question", 2), _NAME),
        "client.address": Cheap("coredns.query", _ASKING, _ADDRESS, finish=lambda address: address.str.strip_chars("[]")),
    },
    everyday=(
        '[INFO] 10.0.0.1:1 - 1 "A IN x.x.svc.cluster.local. udp 1 false 512" NOERROR qr,aa,rd 1 0.0001s',
        '[INFO] 10.0.0.1:1 - 1 "AAAA IN x.x.svc.cluster.local.x.local. udp 1 false 1232" NXDOMAIN qr,aa,rd,ra 1 0.0001s',
    ),
    containers=("coredns", "node-cache", "node-local-dns", "nodelocaldns"),
    images=("(?:.*/)?(?:hardened-)?coredns", "(?:.*/)?k8s-dns-node-cache"),
    apps=("coredns", "node-local-dns", "nodelocaldns"),
    processes=("coredns", "node-cache"),
    sniff=(
        r"^(?:\d{4}\S+ (?:\d\d:\d\d:\d\d )?)?\[(?:DEBUG|INFO|WARNING|ERROR|FATAL)\] "
        r'(?:plugin/\w+: |\S+:\d+ - \d+ "|SIGTERM: |Reloading)|^CoreDNS-\d|^(?:\.|[a-z.]+):53$|^maxprocs: '
    ),
    priority=20,
)
