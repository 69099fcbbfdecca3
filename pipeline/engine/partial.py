"""Messages that the container runtime cut into parts (CRI tag `P`), put together again per stream and output."""

from dataclasses import dataclass

import polars as pl

from pipeline.engine.blocks import Block, fill_owner
from pipeline.engine.state import Limits, Part, State
from pipeline.model import columns
from pipeline.parsers import Context
from pipeline.parsers.envelopes import cri


@dataclass(frozen=True, slots=True)
class Merged:
    """Whole messages as unwrapped rows, and the numbers of the lines that went into them or wait for their end."""

    rows: pl.DataFrame
    covered: pl.Series


def merge(block: Block, tagged: pl.Series, state: State, limits: Limits) -> Merged | None:
    """Put the partial lines of a block together, with what `state` kept of earlier blocks; None where there are none.

    `tagged` are the rows that may be parts. A message has the time and the identity of its first part. What has no end yet
    waits in `state`.
    """
    streams = [batch.stream.id for batch in block.batches]
    waiting = {identity for identity, _ in state.parts}
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
    return _runs(rows.drop_nulls("message"), block, state, limits)


def _runs(rows: pl.DataFrame, block: Block, state: State, limits: Limits) -> Merged:
    whole: list[dict[str, object]] = []
    covered: list[int] = []
    partial = rows["partial"].to_list()
    outputs = list(zip(rows["_seg"].to_list(), rows["log.iostream"].to_list(), strict=True))
    open_ = set(state.parts)
    for at, (segment, output) in enumerate(outputs):
        stream = block.batches[segment].stream
        key = (stream.id, output or "")
        if not partial[at] and key not in open_:
            continue
        row = rows.row(at, named=True)
        covered.append(row["_line"])
        part = state.parts.get(key) or Part(row["@timestamp"], row["event.id"], "")
        room = max(0, limits.parts_bytes - len(part.text))
        if len(row["message"]) > room:
            state.counts["parts_cut", stream.id] += 1
        part.text += row["message"][:room]
        if partial[at]:
            state.parts[key] = part
            open_.add(key)
            continue
        state.parts.pop(key, None)
        open_.discard(key)
        whole.append({**row, "message": part.text, "@timestamp": part.at, "event.id": part.identity, "partial": False})
    return Merged(_frame(whole, block), pl.Series(covered, dtype=pl.UInt32))


def _frame(whole: list[dict[str, object]], block: Block) -> pl.DataFrame:
    schema = {**columns.UNWRAPPED, "_line": pl.UInt32(), "_seg": pl.UInt32(), "event.id": pl.String()}
    return fill_owner(pl.DataFrame(whole, schema=schema), block.owners())
