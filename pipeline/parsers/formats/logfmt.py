"""`key=value` lines, as slog's text handler, logrus, go-kit and Cilium write; keys as in `json`.

The order of keys is never relied on. A line counts as logfmt when it begins with a pair, holds at least two, and one of
them is a message, level or time.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Format, text

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "body": ("msg", "message", "event"),
    "error": ("err", "error", "exception"),
    "logger": ("logger", "name", "module", "subsys", "component"),
    "level": ("level", "lvl", "severity"),
    "time": ("ts", "time", "timestamp", "t"),
}
_MEANING: Final = {key: name for name, keys in _KEYS.items() for key in keys}
_RANK: Final = {key: rank for rank, key in enumerate(_MEANING)}
_PAIR: Final = r'[A-Za-z_@][A-Za-z0-9_.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'
_SIGNS: Final = ("level", "lvl", "msg", "ts", "time")

_COLUMNS: Final[dict[str, pl.DataType]] = {
    "message": pl.String(),
    "log.body": pl.String(),
    "error.message": pl.String(),
    "log.logger": pl.String(),
}


def parse(lines: pl.DataFrame, context: Context) -> pl.DataFrame:
    """One row a line; `message` is given where a logfmt line holds escapes, with these undone."""
    rows = lines.select("message").with_row_index("row")
    pairs = _pairs(rows)
    known = pairs.group_by("row").agg(shaped=(pl.len() > 1) & pl.col("key").is_in(_SIGNS).any()).filter("shaped")
    values = pairs.join(known, on="row", how="semi").drop_nulls("meaning").sort("row", "rank")
    best = values.unique(["row", "meaning"], keep="first")
    wide = best.pivot("meaning", on_columns=list(_KEYS), index="row", values="value")
    found = rows.join(known, on="row", how="left").join(wide, on="row", how="left").sort("row")
    escaped = pl.col("shaped") & pl.col("message").str.contains("\\", literal=True)
    meant = found.with_columns(pl.when(escaped).then("message").alias("message"))
    return meant.with_columns(text.unescape(meant["message"])).select(
        pl.when("shaped").then(pl.lit("logfmt")).alias("source"),
        text.level(pl.col("level")).alias("log.level"),
        text.instant(pl.col("time")).alias("event.time"),
        "message",
        pl.col("body").alias("log.body"),
        pl.col("error").alias("error.message"),
        pl.col("logger").alias("log.logger"),
    )


def _pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """Every pair of lines that begin with one: row, key, value without quotes and escapes, meaning and rank."""
    starting = rows.filter(pl.col("message").str.contains(rf"^\s*{_PAIR}(?:\s|$)"))
    tokens = starting.select("row", pair=pl.col("message").str.extract_all(_PAIR)).explode("pair", empty_as_null=False)
    cut = tokens.select("row", pl.col("pair").str.splitn("=", 2).struct.rename_fields(["key", "value"])).unnest("pair")
    key, value = pl.col("key"), pl.col("value")
    quoted = cut.select(pl.when(value.str.starts_with('"')).then(value.str.slice(1).str.head(-1)))
    return cut.with_columns(text.unescape(quoted["value"]).alias("unquoted")).select(
        "row",
        "key",
        pl.coalesce("unquoted", "value").alias("value"),
        key.replace_strict(_MEANING, default=None, return_dtype=pl.String).alias("meaning"),
        key.replace_strict(_RANK, default=None, return_dtype=pl.Int64).alias("rank"),
    )


FORMAT: Final = Format(
    name="logfmt",
    columns=_COLUMNS,
    sources=("logfmt",),
    parse=parse,
    sniff=(
        r"^(?:(?:level|lvl|msg|ts|time)=\S.*\s[A-Za-z_@][A-Za-z0-9_.@/-]*=|"
        r"[A-Za-z_@][A-Za-z0-9_.@/-]*=\S.*\s(?:level|lvl|msg|ts|time)=)"
    ),
    priority=5,
)
