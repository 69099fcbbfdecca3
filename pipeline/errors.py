"""The exception tree: one root, one class per kind of trouble a caller may want to tell apart.

A message says, in this order: what was attempted, on what, what happened, what to do next.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class HeadwaterError(Exception):
    """Root of every error that Headwater raises on purpose."""


class UsageError(HeadwaterError):
    """A command was given something it cannot take."""


class CaptureError(HeadwaterError):
    """A capture cannot be read at all (single bad files and lines are counted instead)."""


class StateError(HeadwaterError):
    """A checkpoint cannot be restored."""


class ConfigError(HeadwaterError):
    """The configuration says something that cannot be done."""


class SourceError(HeadwaterError):
    """A source cannot go on where it was told to."""


class TransportError(HeadwaterError):
    """Rows could not be kept in the log, or not read from it."""


class StoreError(HeadwaterError):
    """The store cannot be used."""


class DeliveryError(HeadwaterError):
    """A notification was not delivered. `retry`: trying again may help, also where somebody has to mend something first;
    `after` are the seconds to wait until then at least.
    """

    def __init__(self, message: str, *, retry: bool, after: float | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.after = after


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a rule file. `line` and `column` count from 1; `warning` does not stop a load."""

    path: Path
    line: int
    column: int
    what: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.path}:{self.line}:{self.column}: {kind}{self.what}{hint}"


class SignatureError(HeadwaterError):
    """Rule files that cannot be loaded, with every problem of every file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely meant to be."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest(word: str | None, known: Iterable[str]) -> str:
    """A hint that names the known word nearest to `word`, or nothing."""
    found = closest(word or "", known)
    return f"did you mean '{found}'?" if found else ""
