"""Envelopes are told apart by their records alone, and give back the text that was put into them, letter by letter."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parsers
from pipeline.parsers import Context, Envelope

SAMPLES = Path(__file__).resolve().parent.parent / "parsers"
NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
BOOT = datetime(2026, 11, 23, 3, 29, 1, 123456, tzinfo=UTC)
WHEN = datetime(2026, 11, 23, 4, 18, 52, 748608, tzinfo=UTC)
STAMP = "2026-11-23T04:18:52.748608370Z"
NANOS = "1795407532748608370"
ENVELOPES = sorted(parsers.all_envelopes().values(), key=lambda envelope: -envelope.priority)
BARE = [fmt.name for fmt in parsers.all_formats().values()]


def kernel(text: str) -> str:
    """The text as the kernel escapes it: what is not printable ASCII, and the backslash, byte by byte."""
    plain = range(0x20, 0x7F)
    return "".join(chr(b) if b in plain and b != ord("\\") else f"\\x{b:02x}" for b in text.encode())


def dumped(record: object) -> str:
    """JSON as shippers write it: characters beyond ASCII as they are."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def fluentbit(text: str) -> dict[str, object]:
    """A record of the kubernetes filter."""
    return {"time": STAMP, "stream": "stdout", "_p": "F", "log": text, "kubernetes": {"namespace_name": "shop"}}


def vector(text: str) -> dict[str, object]:
    """A record of `kubernetes_logs`."""
    return {"kubernetes": {"pod_namespace": "shop"}, "message": text, "timestamp": STAMP}


def journal(text: str) -> dict[str, object]:
    """A record of the journal, which lists the bytes of a message that is not printable."""
    shown: object = text if text.isprintable() else list(text.encode())
    return {"__REALTIME_TIMESTAMP": "1795407532748608", "SYSLOG_IDENTIFIER": "web", "MESSAGE": shown}


def otlp(body: object) -> dict[str, object]:
    """A request with one log record."""
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": NANOS, "body": body}]}]}]}


FILEBEAT = {"@timestamp": STAMP, "kubernetes": {"pod": {"name": "web-5d"}}}

WRAPPED: dict[str, tuple[str, Callable[[str], str]]] = {
    "cri": ("cri", lambda text: f"{STAMP} stdout F {text}"),
    "cri-zone": ("cri", lambda text: f"2026-11-23T06:18:52.748608+02:00 stderr F {text}"),
    "kmsg": ("kmsg", lambda text: f"4,1842,2991625152,-;{kernel(text)}\n SUBSYSTEM=net"),
    "docker": ("docker", lambda text: dumped({"log": text + "\n", "stream": "stdout", "time": STAMP})),
    "fluentbit": ("fluentbit", lambda text: dumped(fluentbit(text))),
    "fluentbit-array": ("fluentbit", lambda text: dumped([fluentbit(text)])),
    "vector": ("vector", lambda text: dumped(vector(text))),
    "vector-array": ("vector", lambda text: dumped([vector(text)])),
    "filebeat": ("filebeat", lambda text: dumped({**FILEBEAT, "message": text})),
    "journald": ("journald", lambda text: dumped(journal(text))),
    "loki": ("loki", lambda text: dumped({"streams": [{"stream": {"pod": "web-5d"}, "values": [[NANOS, text]]}]})),
    "otlp": ("otlp", lambda text: dumped(otlp({"stringValue": text}))),
    "otlp-journal": (
        "otlp",
        lambda text: dumped(
            otlp(
                {
                    "kvlistValue": {
                        "values": [
                            {"key": "MESSAGE", "value": {"stringValue": text}},
                            {"key": "_TRANSPORT", "value": {"stringValue": "stdout"}},
                        ]
                    }
                }
            )
        ),
    ),
    "dmesg": ("dmesg", lambda text: f"[ 2991.625152] {text}"),
    "syslog": ("syslog", lambda text: f"2026-11-23T04:18:52.748608+00:00 node-b web[7]: {text}"),
    "syslog-5424": ("syslog", lambda text: f"<134>1 {STAMP} node-b web 7 - - {text}"),
}
"""A line of text in every wire shape, and the envelope that must recognise it; all say the same moment."""


def records(name: str) -> list[str]:
    """The records of a sample file, notes and continuation lines left out."""
    lines = (SAMPLES / name / "sample.log").read_text(encoding="utf-8").split("\n")[:-1]
    return [line for line in lines if not line.startswith(("# ", " "))]


def known(record: str) -> list[str]:
    """The envelopes whose pattern matches, the one that wins first."""
    frame = pl.DataFrame({"record": [record]})
    matches = frame.select(pl.col("record").str.contains(e.sniff).alias(e.name) for e in ENVELOPES if e.sniff)
    return [name for name, match in matches.row(0, named=True).items() if match]


def unwrap(envelope: Envelope, texts: list[str]) -> pl.DataFrame:
    """What the envelope makes of the records."""
    return envelope.unwrap(pl.DataFrame({"record": pl.Series(texts, dtype=pl.String)}), Context(BOOT, NOW))


def test_only_plain_text_is_without_a_pattern() -> None:
    """The fallback matches nothing and comes last; two envelopes of one rank never match the same record."""
    assert [envelope.name for envelope in ENVELOPES if envelope.sniff is None] == ["plain"]
    assert ENVELOPES[-1].name == "plain"
    for envelope in ENVELOPES:
        for record in records(envelope.name):
            ranks = [parsers.all_envelopes()[name].priority for name in known(record)]
            assert len(ranks) == len(set(ranks)), record


@pytest.mark.parametrize("envelope", [e for e in ENVELOPES if e.sniff], ids=lambda envelope: envelope.name)
def test_an_envelope_wins_its_own_records(envelope: Envelope) -> None:
    """Whatever record of its sample an envelope recognises, no other takes from it, and that is most of them."""
    seen = [known(record) for record in records(envelope.name)]
    own = [names for names in seen if envelope.name in names]
    assert {names[0] for names in own} == {envelope.name}
    assert len(own) > len(seen) / 2


def test_what_nobody_knows_is_plain_text() -> None:
    """The sample of bare text looks like no envelope."""
    assert [known(record) for record in records("plain")] == [[]] * len(records("plain"))


@pytest.mark.parametrize("name", BARE)
def test_bare_lines_of_programs_look_like_no_envelope(name: str) -> None:
    """A program's own line, be it JSON or begin with a time, is not taken for a shipper's record, unless sent by syslog."""
    assert [(record, known(record)) for record in records(name) if known(record) and record[0] != "<"] == []


@pytest.mark.parametrize("shape", WRAPPED)
def test_every_line_comes_back_out_of_every_shape(shape: str) -> None:
    """Each sample line of each format, wrapped, is recognised per record and unwrapped to the same text and time."""
    name, wrap = WRAPPED[shape]
    lines = sorted({line for fmt in BARE for line in records(fmt)})
    wrapped = [wrap(line) for line in lines]
    assert {known(record)[0] for record in wrapped} == {name}
    rows = unwrap(parsers.all_envelopes()[name], wrapped)
    differing = [(line, row) for line, row in zip(lines, rows["message"], strict=True) if line != row]
    assert differing == []
    # An event handed on as such has a time of its own.
    logs = rows.filter(pl.col("format").ne_missing("k8s.events"))
    assert logs["@timestamp"].unique().to_list() == [WHEN]
    assert rows["line"].to_list() == list(range(len(lines)))


@pytest.mark.parametrize("shape", WRAPPED)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff\0")), max_size=5))
def test_any_text_comes_back_out_of_every_shape(shape: str, texts: list[str]) -> None:
    """So does text with quotes, escapes, control and astral characters, in whatever batch."""
    name, wrap = WRAPPED[shape]
    assert unwrap(parsers.all_envelopes()[name], [wrap(text) for text in texts])["message"].to_list() == texts


def test_the_second_of_a_raw_cri_line_is_that_of_the_full_parse() -> None:
    """The all-rows face and the full parse agree on time and text of every understood line."""
    from pipeline.parsers.envelopes import cri

    frame = pl.DataFrame({"record": records("cri")})
    full = cri.ENVELOPE.unwrap(frame, Context()).filter(pl.col("message").is_not_null())
    fast = frame.select(second=cri.second(pl.col("record")), text=cri.message(pl.col("record")))[full["line"]]
    assert fast["second"].to_list() == full["@timestamp"].dt.truncate("1s").to_list()
    assert fast["text"].fill_null("").to_list() == full["message"].to_list()


def test_kernel_records_count_from_the_boot() -> None:
    """Without the boot time their time is unknown, with it microseconds exact."""
    record = pl.DataFrame({"record": ["4,1,90123450000,-;x"]})
    envelope = parsers.all_envelopes()["kmsg"]
    assert envelope.unwrap(record, Context())["@timestamp"].item() is None
    assert envelope.unwrap(record, Context(BOOT))["@timestamp"].item() == BOOT + timedelta(microseconds=90123450000)
