"""What the battery must be told of a sink: `tests/components/sinks/<name>.py` has a list `WAYS` of these, one for each way in which
the sink can be configured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.components.receiver import Receiver


@dataclass(frozen=True)
class Scene:
    """Where a test looks for what was told: the server, the sink itself, what the process printed."""

    receiver: Receiver
    sink: Any
    printed: str


@dataclass(frozen=True)
class Way:
    """`settings`: the configuration for a server at an address. `seen`: (identity, text) of everything told, where a repeat has
    the identity of the first. `over`: whether the target takes the incident for ended. `limits`: asserts the target's limits on what
    `render` gives. `remote`: it speaks HTTP. `doubles`: the target cannot tell a repeat.
    """

    name: str
    settings: Callable[[str], dict[str, Any]]
    seen: Callable[[Scene], list[tuple[str, str]]]
    over: Callable[[Scene], bool]
    limits: Callable[[str], None]
    secrets: tuple[str, ...] = ()
    remote: bool = True
    doubles: bool = False
