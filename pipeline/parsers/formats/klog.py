"""Lines of klog, the logger of Kubernetes' own programs, in its text form; printf and structured messages alike.

The header is `Lmmdd hh:mm:ss.uuuuuu threadid file:line] `, in the node's time (taken as UTC) and without a year. Behind
it stands a sentence, or a quoted message with `key="value"` pairs. The lines that follow an `err=<` carry no header and
are not understood by themselves.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Format, text

_HEAD: Final = (
    r"(?s)^(?P<letter>[IWEF])(?P<stamp>\d{4} \d\d:\d\d:\d\d\.\d{1,9}) +(?P<pid>\d+) "
    r"(?P<file>[^\s\]]+):(?P<line>\d+)\](?: (?P<rest>.*))?$"
)
_QUOTED: Final = r'(?s)^"((?:[^"\\]|\\.)*)"'
# What precedes is skipped string by string, so that an `err=` inside of one is none.
_ERROR: Final = r'(?s)^(?:[^"]|"(?:[^"\\]|\\.)*")*? (?:err|error)='
_ERROR_QUOTED: Final = _ERROR + r'"((?:[^"\\]|\\.)*)"'
_ERROR_BLOCK: Final = _ERROR + r"<\n(.*?)(?:\n >|$)"
_ERROR_BARE: Final = _ERROR + r'([^\s"<][^\s"]*)'

# klog writes a KObj as "namespace/name", or the bare name of what has no namespace.
_OBJECT: Final = (
    r"[ ,](?i:pod|service|servicePortName|portName|svc|ingress|endpointSlice|endpoints|node|object|deployment|"
    r'daemonSet|replicaSet|statefulSet|job|controller|networkPolicy)="([^"\s]+)"'
)

_COLUMNS: Final[dict[str, pl.DataType]] = {
    "message": pl.String(),
    "log.body": pl.String(),
    "error.message": pl.String(),
    "log.origin.file.name": pl.String(),
    "log.origin.file.line": pl.Int64(),
    "process.pid": pl.Int64(),
    "object.ref": pl.String(),
}


def parse(lines: pl.DataFrame, context: Context) -> pl.DataFrame:
    """One row a line. `log.body` is the quoted message or the whole sentence, `object.ref` the first object reference.

    `message` is given where the line holds escapes, with these undone, so that rules on text need not know them.
    """
    rest = pl.col("rest")
    found = lines.select("message", pl.col("message").str.extract_groups(_HEAD).alias("head")).unnest("head")
    error = pl.coalesce(*(rest.str.extract(form, 1) for form in (_ERROR_QUOTED, _ERROR_BLOCK, _ERROR_BARE)))
    parts = found.with_columns(
        pl.coalesce(rest.str.extract(_QUOTED, 1), rest).alias("log.body"),
        pl.when(error != "nil").then(error.str.strip_chars()).alias("error.message"),
        rest.str.extract(_OBJECT, 1).alias("object.ref"),
        pl.when(rest.str.starts_with('"') & rest.str.contains("\\", literal=True)).then("message").alias("message"),
    )
    plain = parts.with_columns(text.unescape(parts[name]) for name in ("message", "log.body", "error.message"))
    return plain.select(*_common(context), *_values())


def _common(context: Context) -> list[pl.Expr]:
    return [
        pl.when(pl.col("letter").is_not_null()).then(pl.lit("klog")).alias("source"),
        text.level(pl.col("letter")).alias("log.level"),
        text.yearless(pl.col("stamp"), "%m%d %H:%M:%S%.f", context.now).alias("event.time"),
    ]


def _values() -> list[pl.Expr]:
    renamed = {
        "log.origin.file.name": pl.col("file"),
        "log.origin.file.line": pl.col("line").cast(pl.Int64, strict=False),
        "process.pid": pl.col("pid").cast(pl.Int64, strict=False),
    }
    return [renamed.get(name, pl.col(name)).alias(name) for name in _COLUMNS]


_PROGRAMS: Final = (
    "kubelet",
    "kube-proxy",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "(?:.*-)?cloud-controller-manager",
    "cluster-autoscaler",
    "metrics-server",
    "kube-flannel",
    "flanneld",
    "kube-router",
    "ovnkube-.*",
    "antrea-(?:agent|controller)",
    "konnectivity-agent",
    "node-problem-detector",
)

FORMAT: Final = Format(
    name="klog",
    columns=_COLUMNS,
    sources=("klog",),
    parse=parse,
    verbatim=frozenset({"log.origin.file.name", "object.ref"}),
    containers=_PROGRAMS,
    processes=_PROGRAMS,
    sniff=r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [^\s\]]+:\d+\]",
    priority=10,
)
