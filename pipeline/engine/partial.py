"""Messages that the container runtime cut into parts (CRI tag `P`), put together again per writer and output."""

import polars as pl

from pipeline.engine.blocks import Block, fill_owner
from pipeline.engine.state import Limits, Part, State
from pipeline.parsers import Context
from pipeline.parsers.envelopes import cri

WRITER = ("k8s.namespace.name", "k8s.pod.name", "container.name")
"""Who wrote a line of a stream that carries those of many."""


def of_block(block: Block, tagged: pl.Series, state: State, limits: Limits) -> tuple[pl.DataFrame, pl.Series] | None:
    """The whole messages of a block of raw CRI lines, as unwrapped rows, and the numbers of the lines that went into them.

    `tagged` are the rows that may be parts. None where there are none and `state` kept none of earlier blocks.
    """
    streams = [stream.id for stream in block.streams()]
    waiting = {writer for writer, _ in state.parts}
    concerned = {at for at, stream in enumerate(streams) if stream in waiting}
    if len(tagged):
        sure = block.lines.gather(tagged).str.contains(r"^\S+ std(?:out|err) P")
        concerned |= set(block.segments.gather(tagged.filter(sure)).unique().to_list())
    if not concerned:
        return None
    numbers = block.segments.is_in(sorted(concerned)).arg_true().cast(pl.UInt32)
    frame = pl.DataFrame({"record": block.lines.gather(numbers)})
    rows = cri.ENVELOPE.unwrap(frame, Context()).with_columns(
        numbers.alias("_line"), block.segments.gather(numbers).alias("_seg"), block.identities(numbers).alias("event.id")
    )
    rows = rows.drop_nulls("message")
    writers = pl.Series(streams, dtype=pl.String).gather(rows["_seg"])
    whole, covered = _joined(rows, writers.to_list(), state, limits)
    return fill_owner(whole, block.owners()), rows["_line"].gather(covered)


def of_rows(rows: pl.DataFrame, streams: pl.Series, state: State, limits: Limits) -> pl.DataFrame:
    """Unwrapped rows with parts put together; `streams` is the id of each row's stream."""
    if not (state.parts or rows["partial"].any()):
        return rows
    names = rows.select(pl.concat_str(WRITER, separator="/", ignore_nulls=True)).to_series()
    whole, covered = _joined(rows, (streams + "|" + names).to_list(), state, limits)
    kept = rows.with_row_index("_at").filter(~pl.col("_at").is_in(covered)).drop("_at")
    return pl.concat([kept, whole.select(kept.columns)])


def _joined(rows: pl.DataFrame, writers: list[str], state: State, limits: Limits) -> tuple[pl.DataFrame, list[int]]:
    """The whole messages, and the places of the rows that are parts of one.

    A message has the time and the identity of its first part. What has no end yet waits in `state`.
    """
    whole: list[dict[str, object]] = []
    covered: list[int] = []
    keys = list(zip(writers, rows["log.iostream"].fill_null("").to_list(), strict=True))
    for at, is_part in enumerate(rows["partial"].fill_null(value=False).to_list()):
        key = keys[at]
        if not is_part and key not in state.parts:
            continue
        covered.append(at)
        row = rows.row(at, named=True)
        part = state.parts.pop(key, None) or Part(row["@timestamp"], row["event.id"], "")
        room = max(0, limits.parts_bytes - len(part.text))
        if len(row["message"]) > room:
            state.counts["parts_cut", key[0]] += 1
        part.text += row["message"][:room]
        if is_part:
            state.parts[key] = part
        else:
            whole.append({**row, "message": part.text, "@timestamp": part.at, "event.id": part.identity, "partial": False})
    return pl.DataFrame(whole, schema=rows.schema), covered
