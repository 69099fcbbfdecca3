"""nginx: access lines in the formats `combined` and `main`, with any fields behind them, and the error log.

`combined` is predefined in nginx; `main` of its packages and of NGINX Inc's ingress controller adds
`"$http_x_forwarded_for"`. Neither says anything about upstreams or durations: those stand in the error log only.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import PARSED
from pipeline.parsers import Cheap, Context, Format, nginx_text

COLUMNS: Final[dict[str, pl.DataType]] = {
    **nginx_text.ERROR_COLUMNS,
    "http.response.bytes": pl.Int64(),
    "http.response.status_code": pl.Int64(),
    "user_agent.original": pl.String(),
}

_ACCESS: Final = rf"(?s)^{nginx_text.COMBINED}(?: .*)?$"
_SNIFF: Final = rf'{nginx_text.ERROR_SNIFF}|^\S+ - .* \[[^\]]+\] "[^"]*" \d{{3}} \d+ "[^"]*" "[^"]*"(?: |$)'


def _access(groups: pl.Expr) -> dict[str, pl.Expr]:
    field = groups.struct.field
    return {
        "source": pl.when(field("status").is_not_null()).then(pl.lit("nginx.access")),
        "event.time": nginx_text.local_time(field("time")),
        "client.address": field("client"),
        **nginx_text.request(field("request")),
        "http.response.bytes": field("bytes").cast(pl.Int64, strict=False),
        "http.response.status_code": field("status").cast(pl.Int64, strict=False),
        "user_agent.original": nginx_text.present(field("agent")),
    }


def parse(frame: pl.DataFrame, _context: Context) -> pl.DataFrame:
    """`message` to `PARSED` and `COLUMNS`, row by row; a line that is of neither kind is null throughout."""
    message = pl.col("message")
    split = frame.select(access=message.str.extract_groups(_ACCESS), error=nginx_text.error_groups(message))
    kinds = [_access(pl.col("access")), nginx_text.error_fields(pl.col("error"), "nginx.error")]
    return split.select(nginx_text.coalesced(kinds, PARSED | COLUMNS))


_QUOTED: Final = pl.col("record").str.splitn('" ', 3)
"""Up to the request, status and referrer, and the rest, which begins with the user agent."""


def _answer(words: pl.Expr) -> pl.Expr:
    # Envoy and others have a status in the same place, but another date before it or no two quoted fields behind it.
    combined = pl.col("record").str.contains(r' [+-][0-9]{4}\] "')
    return pl.when(combined & pl.col("_quoted").struct.field("field_2").str.starts_with('"')).then(words)


_STATUS: Final = _answer(pl.col("_quoted").struct.field("field_1").str.head(3))
_BYTES: Final = _answer(pl.col("_quoted").struct.field("field_1").str.splitn(" ", 3).struct.field("field_1"))

FORMAT: Final = Format(
    name="nginx",
    columns=COLUMNS,
    sources=("nginx.access", "nginx.error"),
    parse=parse,
    verbatim=frozenset(name for name, dtype in COLUMNS.items() if dtype == pl.String),
    pieces=({"_quoted": _QUOTED},),
    cheap={
        "http.response.status_code": Cheap("nginx.access", _STATUS, "[0-9]{3}", pl.Int64(), few=True),
        "http.response.bytes": Cheap("nginx.access", _BYTES, "[0-9]{1,18}", pl.Int64()),
    },
    containers=("nginx", "nginx-ingress", "openresty"),
    images=(
        "(?:library/|bitnami/)?nginx",
        "(?:nginxinc/)?nginx-unprivileged",
        "nginx/nginx-ingress",
        "openresty/openresty",
    ),
    apps=("nginx",),
    processes=("nginx",),
    sniff=_SNIFF,
)
