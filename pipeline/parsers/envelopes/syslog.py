"""Syslog lines: `journalctl -o short`, `short-precise` and `short-iso`, files of rsyslog, RFC 3164 and RFC 5424.

    Nov 23 04:10:02 node-b kernel: [1694.621694] text
    <4>Nov 23 04:10:02 node-b kernel: text
    2026-11-23T04:10:02.123456+0000 node-b kubelet[812]: text
    <30>1 2026-11-23T04:10:02.123Z node-b kubelet 812 - - text

The short times have no year and no zone: they are UTC, in the year that brings them nearest to `now`.
"""

from typing import Final

import polars as pl

from pipeline.parsers import Context, Envelope, text
from pipeline.parsers.shippers import unwrapped

_SHORT: Final = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_ISO: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
_TAG: Final = r"[^\s:\[]{1,64}"
_FILE: Final = (
    rf"^(?:<(?P<prio>\d{{1,3}})>)?(?:(?P<short>{_SHORT})|(?P<iso>{_ISO})) (?P<host>\S+) (?P<name>{_TAG})(?:\[\d+\])?:"
    r"(?: \[ *\d+\.\d{6}\])?(?: |$)(?P<text>(?s:.*))$"
)
"""rsyslog leaves the kernel's own clock in the text; `journalctl` strips it."""

_DATA: Final = r'(?:-|(?:\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*")*\])+)'
_RFC5424: Final = (
    rf"^<(?P<prio>\d{{1,3}})>1 (?:-|(?P<iso>{_ISO})) (?:-|(?P<host>\S+)) (?:-|(?P<name>\S+)) \S+ \S+ {_DATA}"
    r"(?: \x{FEFF}?|$)(?P<text>(?s:.*))$"
)
_SNIFF: Final = (
    rf"^(?:(?:<\d{{1,3}}>)?(?:{_SHORT}|{_ISO}) [A-Za-z0-9][A-Za-z0-9._:-]* {_TAG}(?:\[\d+\])?:(?: |$)|<\d{{1,3}}>1 (?:-|{_ISO}) )"
)


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    record = pl.col("record")
    old, new = (record.str.extract_groups(pattern).struct for pattern in (_FILE, _RFC5424))
    both = {name: pl.coalesce(old.field(name), new.field(name)) for name in ("prio", "iso", "host", "name", "text")}
    parts = frame.select(old.field("short"), **both)
    prio = pl.col("prio").cast(pl.Int64(), strict=False)
    kernel = (pl.col("name") == "kernel") & (prio // 8 == 0).fill_null(value=True)
    named = pl.when(kernel | (pl.col("name") != "kernel")).then("name")
    return unwrapped(
        parts,
        time=pl.coalesce(text.timestamp(pl.col("iso")), text.yearless(pl.col("short"), "%b %e %H:%M:%S%.f", context.now)),
        message=pl.col("text"),
        log_level=text.severity(prio & 7),
        format=pl.when(kernel).then(pl.lit("kernel")),
        k8s_node_name=pl.col("host"),
        process_name=named.when(pl.col("name").is_not_null()).then(pl.lit("user")),
    )


ENVELOPE = Envelope(name="syslog", unwrap=_unwrap, sniff=_SNIFF, priority=20)
