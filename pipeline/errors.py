"""The exception tree: one root, one class per kind of trouble a caller may want to tell apart.

A message says, in this order: what was attempted, on what, what happened, what to do next.
"""

from collections.abc import Sequence
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
