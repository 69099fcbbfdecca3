"""What a person says of an incident, from the command line into the store."""

import time
from dataclasses import dataclass
from typing import get_args

from pipeline.cli import stores
from pipeline.contracts.store import Feedback, Verdict
from pipeline.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class Said:
    """The words of the command."""

    verdict: str
    cause: str | None
    note: str
    author: str


def add(opened: stores.Opened, identity: str, said: Said) -> None:
    """Keep it and say so. Raises UsageError for a word that is none, with the nearest."""
    verdict = next((word for word in get_args(Verdict) if word == said.verdict), None)
    if verdict is None:
        hint = nearest(said.verdict, get_args(Verdict)) or "say right or wrong"
        raise UsageError(f"feedback {said.verdict}: there is no such verdict; {hint}")
    found = stores.incident(opened.store, identity)
    stores.signature(opened, "--cause", said.cause)
    opened.store.add_feedback(Feedback(found.thread, time.time_ns() // 1000, verdict, said.author, said.cause, said.note))
    print(f"kept: {found.id[:8]} {found.incident['signature']} was {verdict}, says {said.author}")
