"""One JSON object a line, as zap, logrus, slog, zerolog, bunyan and pino write; keys by what they usually mean."""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Format, text

# In order of preference.
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "body": ("msg", "message", "event", "body", "text"),
    "error": ("err", "error", "exception", "error.message", "exc_info"),
    "logger": ("logger", "log.logger", "name", "module", "subsys", "component"),
    "level": ("level", "lvl", "severity", "levelname", "log.level"),
    "time": ("ts", "time", "timestamp", "@timestamp", "t", "asctime"),
}
_COLUMNS: Final[dict[str, pl.DataType]] = {
    "message": pl.String(),
    "log.body": pl.String(),
    "error.message": pl.String(),
    "log.logger": pl.String(),
}


def parse(lines: pl.DataFrame, context: Context) -> pl.DataFrame:
    """One row a line; null where the line is cut, not JSON or no object.

    `message` is given where the line holds escapes, with these undone, so that rules on text see what was meant.
    """
    message = lines["message"]
    fields = text.json_fields(message, [key for keys in _KEYS.values() for key in keys])
    meant = fields.select("object", *(pl.coalesce(keys).alias(name) for name, keys in _KEYS.items()))
    escaped = pl.col("object") & pl.col("message").str.contains("\\", literal=True)
    rows = meant.with_columns(message).with_columns(pl.when(escaped).then("message").alias("message"))
    return rows.with_columns(text.unescape(rows["message"])).select(
        pl.when("object").then(pl.lit("json")).alias("source"),
        text.level(pl.col("level")).alias("log.level"),
        text.instant(pl.col("time")).alias("event.time"),
        "message",
        pl.col("body").alias("log.body"),
        _error().alias("error.message"),
        pl.col("logger").alias("log.logger"),
    )


def _error() -> pl.Expr:
    # pino and bunyan write the error as an object.
    whole = pl.col("error")
    nested = pl.when(whole.str.starts_with("{")).then(whole).str.json_path_match("$.message")
    return pl.coalesce(nested, whole)


FORMAT: Final = Format(
    name="json",
    columns=_COLUMNS,
    sources=("json",),
    parse=parse,
    sniff=r'^\s*\{\s*"(?s:.*)\}\s*$',
)
