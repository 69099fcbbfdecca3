"""The store that a command reads, and the incidents that people name in it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipeline import config as configuration
from pipeline import contracts
from pipeline.cli import paths
from pipeline.config import Config
from pipeline.contracts.store import Query, Store, Stored
from pipeline.engine.lifecycle import Book
from pipeline.errors import ConfigError, StoreError, UsageError, closest, nearest
from pipeline.runtime.replay import Replay

SHORTEST = 6
"""Letters of an id that are enough where no other begins with them."""
FILE = "incidents.db"
"""The store's file in a state folder."""
WHERE = frozenset({"cluster", "nodes", "rules", "state", "store"})
"""Keys of the configuration that say where the store is, what it is told when it is opened, and what may stand in it."""
PATIENCE = 30.0
"""Seconds that a command waits for the service to let go of the store."""
_LOOKED_AT = 1000
"""Newest incidents among which a mistyped id is looked for."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, and the folders of signatures that its incidents may be of."""

    store: Store
    rules: Sequence[Path]


@contextlib.contextmanager
def opened(file: Path | None = None, state: Path | None = None, config: Path | None = None) -> Iterator[Opened]:
    """The store in a file, in a state folder, or else that of the configuration. Raises StoreError where there is none: looking
    must not make one.
    """
    path = file or (state / FILE if state else None)
    if path is None:
        named = configured(config)
        store, rules = _of(named), named.settings.rules
    else:
        store, rules = _there(path), configured(config).settings.rules if config else ()
    with contextlib.closing(store):
        yield Opened(store, rules)


def configured(config: Path | None) -> Config:
    """The configuration that says where things are. Raises ConfigError, with a way around it."""
    try:
        return configuration.load(config, only=WHERE)
    except ConfigError as error:
        raise ConfigError(f"{error}\n--state FOLDER, the state folder of the service, does without the configuration") from error


def keep(found: Replay, file: Path) -> None:
    """Put the incidents of a replay among those of a store, which is made where there is none."""
    book = Book()
    now = max((incident.last for incident in found.incidents), default=0)
    book.update(found.incidents, now)
    with contextlib.closing(_in(file)) as store:
        store.save(list(book.records.values()), now)


def _of(config: Config) -> Store:
    from pipeline.runtime import wiring

    if config.store.type == "sqlite":
        return _there(getattr(config.store.settings, "path", None) or config.settings.state / FILE)
    return cast("Store", wiring.create(config.store, config, patience=PATIENCE))


def _there(path: Path) -> Store:
    if not path.exists():
        hint = paths.hint(path) or "; `headwater run` makes it; name another with --store, --state or --config"
        raise StoreError(f"opening the store {path}: there is no such file{hint}")
    return _in(path)


def _in(path: Path) -> Store:
    module = contracts.find("stores", "sqlite")
    store: Store = module.create(module.Settings(path=path), contracts.Context(cluster="", state=path.parent, name="store"))
    return store


def incident(store: Store, identity: str) -> Stored:
    """The incident that people mean; where it was merged into another, that. Raises UsageError with the nearest id."""
    found = store.incident(identity)
    if found is None:
        raise UsageError(f"there is no incident '{identity}'; {_meant(store, identity)}")
    if found.merged_into is not None and (target := store.incident(found.merged_into)) is not None:
        return target
    return found


def signature(opened: Opened, option: str, slug: str | None) -> None:
    """Raises UsageError for a signature that neither comes with Headwater, nor is configured, nor has an incident."""
    from pipeline.signatures import load

    known = {path.parent.name for folder in (load.packaged(), *opened.rules) for path in folder.rglob(load.RULE_FILE)}
    if slug is None or slug in known or opened.store.incidents(Query(signature=slug, limit=1)):
        return
    known |= {one.signature for one in opened.store.statistics(Query(limit=_LOOKED_AT))}
    hint = nearest(slug, known) or "`headwater rules list` names them all"
    raise UsageError(f"{option} {slug}: there is no such signature; {hint}")


def _meant(store: Store, identity: str) -> str:
    known = [found.id for found in store.incidents(Query(limit=_LOOKED_AT))]
    begun = [one for one in known if one.startswith(identity)]
    if begun and len(identity) < SHORTEST:
        return f"give {SHORTEST} letters or more: did you mean '{begun[0]}'?"
    if begun:
        return f"{len(begun)} begin so: {', '.join(begun[:4])}; give more letters"
    near = {one[: len(identity)]: one for one in known}
    guess = closest(identity, near)
    return f"did you mean '{near[guess]}'?" if guess else "`headwater incidents --all` names them"
