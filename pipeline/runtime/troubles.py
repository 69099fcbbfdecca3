"""What goes wrong while the service runs: said once, then counted, and said again when it is another thing."""

from collections import Counter
from dataclasses import dataclass, field

import structlog

FEW = 20
"""Subjects of one kind of trouble that are said one by one; the others are only counted."""
MOST = 10_000
"""Subjects of one kind that are remembered."""

log = structlog.get_logger("headwater")


@dataclass(slots=True)
class Troubles:
    """Counts by who noticed it and what kind it is; `last` is the newest text of each."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: dict[tuple[str, str], str] = field(default_factory=dict)
    _said: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def note(self, who: str, kind: str, text: str, *, subject: str = "", amount: int = 1) -> None:
        """Something went wrong; `amount` counts bytes or records where there are such."""
        key = (who, kind)
        self.counts[key] += max(1, amount)
        self.last[key] = text
        said = self._said.setdefault(key, {})
        if said.get(subject) == text:
            return
        if subject in said or len(said) < FEW:
            log.warning(text, at=who, kind=kind)
        elif len(said) == FEW:
            log.warning("more of the same kind is only counted from here on: see `headwater status`", at=who, kind=kind)
        if len(said) >= MOST:
            said.clear()  # names come and go for months; what is still wrong is said once more
        said[subject] = text

    def mended(self, who: str, kind: str, text: str = "", *, subject: str = "") -> None:
        """It went well again, so that the next time is news."""
        said = self._said.get((who, kind), {})
        if said.pop(subject, None) is not None and text:
            log.info(text, at=who)
