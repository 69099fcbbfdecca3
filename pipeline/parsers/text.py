"""What several parsers need to read text: times, levels, durations and JSON, as Polars expressions or over a column.

Nothing here raises on any text; what is not understood becomes null. All of it is meant for full parses (candidates),
not for `cheap` columns.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import polars as pl

from pipeline.model import columns

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)

_MILLIS, _MICROS, _NANOS = 10**11, 10**14, 10**17

_LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("trace", "trc", "finest", "10"),
    "debug": ("debug", "debu", "dbug", "dbg", "verbose", "fine", "d", "20"),
    "info": ("info", "informational", "information", "inf", "notice", "log", "i", "30"),
    "warn": ("warn", "warning", "wrn", "w", "40"),
    "error": ("error", "erro", "err", "eror", "severe", "e", "50"),
    "fatal": ("fatal", "fata", "ftl", "critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic", "f", "60"),
}
_LEVEL: Final[dict[str, str]] = {word: level for level, words in _LEVELS.items() for word in words}
_SEVERITY: Final[dict[int, str]] = {
    **dict.fromkeys((0, 1, 2), "fatal"),
    3: "error",
    4: "warn",
    **dict.fromkeys((5, 6), "info"),
    7: "debug",
}

_SIMPLE: Final[dict[str, str]] = {
    "\\\\": "\\",
    '\\"': '"',
    "\\/": "/",
    "\\n": "\n",
    "\\t": "\t",
    "\\r": "\r",
    "\\b": "\b",
    "\\f": "\f",
}
_UNICODE: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

_UNITS: Final[dict[str, float]] = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ns": 1e-9,
}


def _plausible(time: pl.Expr) -> pl.Expr:
    """Null outside 1970 to 2261: Python cannot hold what Polars reads from `+99999-...`, and no log is that old."""
    return pl.when(time.is_between(_EARLIEST, _LATEST, closed="left")).then(time)


def _once(value: pl.Expr, read: Callable[[pl.Series], pl.Series]) -> pl.Expr:
    """Let `read` see the values as a column, as eager Polars computes an expression anew wherever it is named again."""

    def checked(column: pl.Series) -> pl.Series:
        return read(column).to_frame("time").select(_plausible(pl.col("time"))).to_series()

    return value.map_batches(checked, return_dtype=columns.TIME, is_elementwise=True)


def timestamp(text: pl.Expr) -> pl.Expr:
    """RFC 3339 and its relatives to `Datetime("us", "UTC")`; digits below the microsecond are cut off.

    `2026-11-23T04:39:01.123456789+02:00`; a space for the T, `/` in the date, `,` before the fraction, `+0200` and no
    zone at all (then UTC) are accepted, as are fractions of any length.
    """
    return _once(text.cast(pl.String), _timestamp)


def _timestamp(text: pl.Series) -> pl.Series:
    trimmed = text.str.strip_chars().str.strip_suffix(" UTC")
    day = trimmed.str.head(10).str.replace_all("/", "-", literal=True)
    clock = trimmed.str.slice(11).str.replace(",", ".", literal=True).str.replace_many(["z", " "], ["Z", ""])
    whole = pl.select(pl.concat_str(day.alias("day"), pl.lit("T"), clock.alias("clock"))).to_series()
    zoned = whole.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$")
    aware = pl.select(pl.when(zoned).then(whole).otherwise(whole + "Z")).to_series()
    return aware.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us")


def epoch(text: pl.Expr) -> pl.Expr:
    """A count since 1970 (String) to `Datetime("us", "UTC")`: seconds below 1e11, then ms, us, ns by magnitude."""
    whole = text.cast(pl.Int64, strict=False)
    number = text.cast(pl.Float64, strict=False)
    exact = pl.when(whole >= _NANOS).then(whole // 1000).when(whole >= _MICROS).then(whole)
    fine = pl.when(number >= _NANOS).then(1e-3).when(number >= _MICROS).then(1.0)
    scale = fine.when(number >= _MILLIS).then(1e3).otherwise(1e6)
    rounded = (number * scale).round()
    safe = pl.when(rounded.is_between(0.0, 9.2e18)).then(rounded).cast(pl.Int64, strict=False)
    return _plausible(pl.coalesce(exact, safe).cast(columns.TIME))


def instant(text: pl.Expr) -> pl.Expr:
    """`epoch` where the text is a number, else `timestamp`."""
    return pl.coalesce(epoch(text), timestamp(text))


def yearless(text: pl.Expr, form: str, now: datetime | None) -> pl.Expr:
    """A time without year or zone (UTC), in chrono's `form`, in the year that puts it nearest to `now` (None: null).

    `yearless(text, "%m%d %H:%M:%S%.f", now)` reads klog's `1123 04:39:01.041577`, `"%b %e %H:%M:%S"` syslog's.
    """
    if now is None:
        return pl.lit(None, columns.TIME)
    reference = now if now.tzinfo else now.replace(tzinfo=UTC)
    return _once(text.cast(pl.String), lambda column: _yearless(column, form, reference))


def _yearless(text: pl.Series, form: str, now: datetime) -> pl.Series:
    def read(year: int) -> pl.Expr:
        dated = pl.concat_str(pl.lit(f"{year:04} "), text.alias("text"))
        return dated.str.to_datetime(f"%Y {form}", strict=False, time_unit="us").dt.replace_time_zone("UTC")

    guesses = pl.select(read(now.year).alias("this"), read(now.year - 1).alias("last"), read(now.year + 1).alias("next"))
    away = guesses.select((pl.all() - now).abs())
    # February 29 is a date in some of the years only.
    nearest = away.select(pl.min_horizontal(pl.all())).to_series()
    return guesses.select(pl.coalesce(pl.when(away[name] == nearest).then(name) for name in guesses.columns)).to_series()


def level(text: pl.Expr) -> pl.Expr:
    """Any logger's level word, klog's letter, bunyan's number to trace|debug|info|warn|error|fatal, else null."""
    return text.str.strip_chars().str.to_lowercase().replace_strict(_LEVEL, default=None, return_dtype=pl.String)


def severity(number: pl.Expr) -> pl.Expr:
    """A syslog severity 0 to 7 (integer) to the words of `level`."""
    return number.cast(pl.Int64, strict=False).replace_strict(_SEVERITY, default=None, return_dtype=pl.String)


def duration(text: pl.Expr) -> pl.Expr:
    """Go's and plain durations to Float64 seconds: `0.000085214s`, `1m30.5s`, `85.2\u00b5s`; a bare number is seconds.

    Null where any part is not a number with a unit.
    """
    bare = text.cast(pl.Float64, strict=False)
    shaped = text.str.contains("^(?:[0-9]+\\.?[0-9]*(?:h|ms|m|s|us|\u00b5s|\u03bcs|ns))+$")
    total = pl.lit(0.0)
    for unit, seconds in _UNITS.items():
        # A unit ends at a digit or at the end, so `m` does not take the number of `ms`.
        part = text.str.extract(rf"([0-9]+\.?[0-9]*){unit}(?:[0-9]|$)", 1).cast(pl.Float64, strict=False)
        total = total + part.fill_null(0.0) * seconds
    return pl.coalesce(pl.when(bare.is_finite()).then(bare), pl.when(shaped).then(total))


def unescape(text: pl.Series) -> pl.Series:
    """The text with JSON's string escapes undone, from left to right; a lone surrogate becomes U+FFFD.

    The text need not be a JSON string: a whole JSON line read so shows its values as they were written.
    """
    found = text.drop_nulls().str.extract_all(_UNICODE).explode(empty_as_null=False)
    # Pairs first: with `leftmost` the earlier pattern wins, and half a pair is no character.
    runs = sorted(found.unique(maintain_order=True).to_list(), key=len, reverse=True)
    decoded = {run: _SURROGATE.sub("\ufffd", json.loads(f'"{run}"')) for run in runs}
    table = _SIMPLE | decoded
    return text.str.replace_many(list(table), list(table.values()), leftmost=True)


def json_fields(text: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    """Top-level members of JSON objects as Strings: Boolean `object` (the text is a JSON object), then a column a key.

    Nested values are given as JSON text, null and missing members are null. Rows that are no valid JSON object are null
    without touching others: each text is checked by itself first, as `json_decode` joins the rows and would mix them.
    Keys are plain words (no quotes). Objects nested deeper than 127 are refused.
    """
    trimmed = text.str.strip_chars()
    valid = trimmed.str.starts_with("{") & trimmed.str.json_path_match("$").is_not_null()
    # Decoding to String fails on a nested value, and a key may be spelt with escapes: those few rows go the slow way.
    nested = trimmed.str.contains('"(?:' + "|".join(re.escape(key) for key in keys) + r')"\s*:\s*[\[{]|\\u00[4-7]')
    frame = pl.DataFrame({"object": valid.fill_null(value=False), "nested": nested, "text": trimmed})
    found = frame.with_row_index("row").filter("object")
    flat, deep = found.filter(~pl.col("nested")), found.filter("nested")
    parts = [
        pl.concat([flat.select("row"), _decode(flat["text"], keys)], how="horizontal"),
        pl.concat([deep.select("row"), _by_path(deep["text"], keys)], how="horizontal"),
    ]
    rows = frame.select("object").with_row_index("row")
    return rows.join(pl.concat(parts), on="row", how="left", maintain_order="left").drop("row")


def _decode(text: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    try:
        decoded = text.str.json_decode(pl.Struct(dict.fromkeys(keys, pl.String)))
    except pl.exceptions.ComputeError:
        return _by_path(text, keys)
    return decoded.struct.unnest() if len(decoded) == len(text) else _by_path(text, keys)


def _by_path(text: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    # Several times dearer than decoding, but indifferent to the type of the member.
    return pl.DataFrame([text.str.json_path_match(f"$['{key}']").alias(key) for key in keys])
