"""What people have been told, as it is kept between decisions and over restarts: conversations, groups, days."""

import dataclasses
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.contracts.sink import OVER
from pipeline.errors import StateError
from pipeline.runtime.routes import Target

FORMAT = 1


@dataclass(slots=True)
class Talk:
    """A conversation: one receiver, one thread. It was last about `record` (a record's thread) in `revision`, at `level`, with
    `event`, at `last`. `form` is enough of what was said to end it; `said` has the revision of each record that was
    spoken of last, and how often it was again. Times are microseconds since 1970.
    """

    thread: str
    target: Target
    group: str
    began: int
    last: int
    record: str
    revision: int
    level: str
    event: str
    form: Mapping[str, Any]
    said: Mapping[str, tuple[int, int]]

    @property
    def over(self) -> bool:
        """Whether it was closed."""
        return self.event in OVER


@dataclass(slots=True)
class Group:
    """What is told together: since when something first waited, and when something was last told."""

    since: int
    last: int | None
    interval: float


@dataclass(slots=True)
class Day:
    """A receiver's day: conversations opened, and the digest of those beyond the cap: lines by record, of which `told` were sent
    in `number` notifications, the last at `last`; `interval` seconds lie between them.
    """

    openings: int = 0
    lines: dict[str, str] = field(default_factory=dict)
    thread: str = ""
    told: int = 0
    number: int = 0
    last: int | None = None
    interval: float = 0.0


@dataclass(slots=True)
class Told:
    """All of it. Talks by receiver and thread, groups by receiver and labels, days by receiver and date. `heard` says of which
    records a receiver ever heard as such, and whether in a digest only.
    """

    talks: dict[tuple[str, str], Talk] = field(default_factory=dict)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    days: dict[tuple[str, str], Day] = field(default_factory=dict)
    heard: dict[tuple[str, str], bool] = field(default_factory=dict)
    latest: int = 0

    def keep(self, receivers: Container[str]) -> None:
        """Forget all but some receivers."""
        for kept in (self.talks, self.groups, self.days, self.heard):
            for key in [key for key in kept if key[0] not in receivers]:
                del kept[key]

    def set_clock(self, now: int) -> None:
        """Take in the time; when the clock was set back, all that was noted moves with it, so that nothing waits for longer."""
        back = self.latest - now
        self.latest = now
        if back <= 0:
            return
        for talk in self.talks.values():
            talk.began, talk.last = talk.began - back, talk.last - back
        for group in self.groups.values():
            group.since, group.last = group.since - back, None if group.last is None else group.last - back
        for day in self.days.values():
            day.last = None if day.last is None else day.last - back


def dump(told: Told) -> bytes:
    """As JSON."""
    kept = {
        "format": FORMAT,
        "latest": told.latest,
        **{name: _listed(getattr(told, name)) for name in ("talks", "groups", "days", "heard")},
    }
    return json.dumps(kept, separators=(",", ":")).encode()


def load(saved: bytes) -> Told:
    """What `dump` made. Raises StateError for anything else."""
    try:
        kept = json.loads(saved)
        if kept["format"] != FORMAT:
            raise StateError("restoring what people were told: it was kept by another version of Headwater; use that version")
        return Told(
            talks={(one, other): _talk(value) for one, other, value in kept["talks"]},
            groups={(one, other): Group(**value) for one, other, value in kept["groups"]},
            days={(one, other): Day(**value) for one, other, value in kept["days"]},
            heard={(one, other): value for one, other, value in kept["heard"]},
            latest=kept["latest"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"restoring what people were told: it cannot be read: {error!r}; it is damaged") from error


def _listed(found: Mapping[tuple[str, str], Any]) -> list[Any]:
    return [(*key, dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value) for key, value in found.items()]  # type: ignore[arg-type]


def _talk(kept: dict[str, Any]) -> Talk:
    target = kept["target"]
    labels = tuple((name, value) for name, value in target["group"])
    said = {record: (revision, times) for record, (revision, times) in kept["said"].items()}
    return Talk(**{**kept, "target": Target(**{**target, "group": labels}), "said": said})
