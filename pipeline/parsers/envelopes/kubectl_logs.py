"""What `kubectl logs --timestamps` and `--prefix` put before a line: `[pod/NAME/CONTAINER] 2026-03-01T10:05:03.214577101Z text`.

Unlike a CRI file there is no output and no tag between the time and the text. The time is the runtime's, with nanoseconds: fewer
digits are the program's own (old CoreDNS).
"""

import polars as pl

from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import rfc3339, unwrapped

_PREFIX = r"^\[pod/(?P<pod>[a-z0-9.-]+)/(?P<container>[a-z0-9.-]+)\] "
_NANO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{4,9}(?:Z|[+-]\d\d:\d\d)"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    named = record.str.extract_groups(_PREFIX)
    text = record.str.replace(_PREFIX, "")
    time = rfc3339(text.str.extract(rf"^({_TIME}) ", 1))
    bare = pl.when(time.is_not_null()).then(text.str.replace(rf"^{_TIME} ", "")).otherwise(text)
    known = time.is_not_null() | named.struct.field("pod").is_not_null()
    parts = frame.with_columns(time=time, bare=pl.when(known).then(bare), names=named)
    return unwrapped(
        parts,
        time=pl.col("time"),
        message=pl.col("bare"),
        k8s_pod_name=pl.col("names").struct.field("pod"),
        container_name=pl.col("names").struct.field("container"),
    )


ENVELOPE = Envelope(
    name="kubectl_logs",
    unwrap=_unwrap,
    sniff=rf"^(?:\[pod/[a-z0-9.-]+/[a-z0-9.-]+\] (?:{_TIME} )?|{_NANO} )",
    priority=-50,
)
