"""Whether lines are still what their format says: a few of every block are parsed in full, whether or not a rule wants them.

Rules look only at lines in which one of their texts stands. A program that writes otherwise from today on has no such lines, so
that nothing would be seen and nothing be missed.
"""

from collections import defaultdict
from datetime import datetime

import polars as pl

from pipeline import parsers
from pipeline.engine.state import State
from pipeline.parsers import Context
from pipeline.parsers.envelopes import cri

EACH = 3
"""Lines taken of a block: the first ones, so that taking them costs nothing by the line."""
ENOUGH = 60
"""Lines of a format that are parsed at once: a call costs milliseconds."""


class Sampler:
    """Counts, in `counts`, the lines looked at (`sampled`) and those among them that were not understood (`unknown`)."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, list[str]] = defaultdict(list)

    def take(self, name: str, lines: pl.Series, state: State, now: datetime) -> None:
        """Take some raw CRI lines of a block of a format."""
        taken = self._taken[name]
        taken += lines.head(EACH).to_list()
        if len(taken) >= ENOUGH:
            self._look(name, self._taken.pop(name), state, now)

    def _look(self, name: str, taken: list[str], state: State, now: datetime) -> None:
        rows = cri.ENVELOPE.unwrap(pl.DataFrame({"record": taken}), Context())
        rows = rows.filter(pl.col("message").str.len_bytes() > 0, ~pl.col("partial"))
        unknown = parsers.all_formats()[name].parse(rows, Context(None, now))["source"].is_null()
        state.counts["sampled", name] += len(rows)
        if number := int(unknown.sum()):
            state.counts["unknown", name] += number
            state.samples_of_trouble["unknown", name] = rows["message"].filter(unknown)[-1][:200]
