"""What is saved together: state, positions, what was decided to say. And how to go on from it, also with other rules.

With the rules it was made with, a checkpoint is simply gone on from. With others the state means nothing, so the log is read
again from `REWIND` ago, and what people were told stays known.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.model.stream import RawBatch

VERSION = 1
REWIND = 2 * 3600 * 1_000_000
"""Microseconds of event time that are read again when the rules have changed: longer than the longest window."""
STEP = REWIND // 12


@dataclass(slots=True)
class Place:
    """Where the rows end that are in the state. `held` are rows that were read and wait for slower streams."""

    positions: Mapping[str, Any]
    held: list[RawBatch] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """Places of the last two hours: (event time in microseconds, positions), oldest first."""

    places: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)

    def add(self, at: int, place: Place) -> None:
        """Remember a place where nothing was held back."""
        if place.held or not at or (self.places and at < self.places[-1][0] + STEP):
            return
        self.places.append((at, place.positions))
        while len(self.places) > 1 and self.places[1][0] <= at - REWIND:
            del self.places[0]

    def oldest(self) -> Mapping[str, Any] | None:
        """The place to read again from."""
        return self.places[0][1] if self.places else None


def encode(place: Place, history: History) -> dict[str, bytes]:
    """A place and those before it, as parts."""
    held = [(batch.stream, batch.data, batch.offset, batch.offsets) for batch in place.held]
    known = {"version": VERSION, "positions": place.positions, "history": history.places}
    return {"place": json.dumps(known).encode(), "held": pickle.dumps(held)}


def decode(parts: Mapping[str, bytes]) -> tuple[Place, History]:
    """The place and those before it. Raises ValueError or KeyError where they cannot be read."""
    known = json.loads(parts["place"])
    if known["version"] != VERSION:
        raise ValueError(f"a place of version {known['version']}")
    held = [RawBatch(*given) for given in pickle.loads(parts["held"])]  # noqa: S301 (our own checkpoint)
    return Place(known["positions"], held), History([(at, positions) for at, positions in known["history"]])
