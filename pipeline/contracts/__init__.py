"""What a source, a transport, a store and a sink must do.

A component is one module below `connectors/`, found by its name: `type: slack` in the configuration *is*
`connectors/sinks/slack.py`. The module has

    Settings    a frozen pydantic model of what a person may configure; unknown keys are errors, secrets are SecretStr
    create      `create(settings, context) -> component`; opens nothing that may fail for a while (a server that is down is
                no reason not to start), raises ConfigError for what no waiting will mend

and the component follows the protocol of its kind: `source.py`, `transport.py`, `store.py`, `sink.py` in this package. Every
component passes the shared battery of its kind in `tests/components/`, which finds it by walking the folder: a new one adds
files and edits none.

What holds for all kinds:

* A component does one system's work and nothing else. It never sleeps, never retries and starts no thread: it says what
  happened, and the runtime decides when to try again. Whatever needs a time gets `now` as an argument.
* Errors of the system come out as ours (`pipeline.errors`), with what was attempted, on what, what happened and what to do;
  the foreign exception stays chained. Secrets never stand in a message, a repr or a log line.
* Vendor clients are imported inside the component and only when it is used.
* `close()` may be called at any time and more than once; nothing else is called after it.
"""

import importlib
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal

from pipeline.errors import ConfigError, nearest

Kind = Literal["sources", "transports", "stores", "sinks"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a component may know of the process it runs in.

    `cluster` is the name of the cluster, `state` the folder that is the process's own, `name` what the configuration calls the
    component (metrics and messages name it so).
    """

    cluster: str
    state: Path
    name: str
    nodes: dict[str, str] = field(default_factory=dict)
    """Node to availability zone, as far as configured."""
    patience: float = 30.0
    """Seconds that a call may wait for another process that is at the same file."""


def names(kind: Kind) -> list[str]:
    """The components of a kind."""
    package = importlib.import_module(f"connectors.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(kind: Kind, name: str) -> ModuleType:
    """The module of a component. Raises ConfigError with the nearest name where there is none."""
    known = names(kind)
    if name not in known:
        hint = nearest(name, known) or f"one of {', '.join(known)}"
        raise ConfigError(f"there is no {kind.removesuffix('s')} of type '{name}'; {hint}")
    return importlib.import_module(f"connectors.{kind}.{name}")
