"""Journal records as JSON: `journalctl -o json`, and what Fluent Bit (systemd), Vector and OpenTelemetry make of them.

Field names: systemd.journal-fields(7); how they are respelt: INTEROP 2.8.
"""

import polars as pl

from pipeline.parsers import Context, Envelope
from pipeline.parsers.shippers import JOURNAL_SNIFF, journal, records


def _unwrap(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    return journal(records(frame))


ENVELOPE = Envelope(name="journald", unwrap=_unwrap, sniff=JOURNAL_SNIFF, priority=40)
