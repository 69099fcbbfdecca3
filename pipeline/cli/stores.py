"""The store that a command reads, and the incidents that people name in it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline import contracts
from pipeline.cli import paths
from pipeline.contracts.store import Query, Store, Stored
from pipeline.engine.lifecycle import Book
from pipeline.errors import StoreError, UsageError, closest, nearest
from pipeline.runtime.replay import Replay

SHORTEST = 6
"""Letters of an id that are enough where no other begins with them."""
_LOOKED_AT = 1000
"""Newest incidents among which a mistyped id is looked for."""


@contextlib.contextmanager
def opened(file: Path | None, state: Path) -> Iterator[Store]:
    """The store in a file, or in a state folder. Raises StoreError where there is none: looking must not make one."""
    path = file or state / "incidents.db"
    if not path.exists():
        hint = paths.hint(path) or "; name one with --store, or the state folder of the service with --state"
        raise StoreError(f"opening the store {path}: there is no such file{hint}")
    with _open(path) as store:
        yield store


def keep(found: Replay, file: Path) -> None:
    """Put the incidents of a replay among those of a store, which is made where there is none."""
    book = Book()
    now = max((incident.last for incident in found.incidents), default=0)
    book.update(found.incidents, now)
    with _open(file) as store:
        store.save(list(book.records.values()), now)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Store]:
    module = contracts.find("stores", "sqlite")
    context = contracts.Context(cluster="", state=path.parent, name="store")
    store: Store = module.create(module.Settings(path=path), context)
    try:
        yield store
    finally:
        store.close()


def incident(store: Store, identity: str) -> Stored:
    """The incident that people mean; where it was merged into another, that. Raises UsageError with the nearest id."""
    found = store.incident(identity)
    if found is None:
        raise UsageError(f"there is no incident '{identity}'; {_meant(store, identity)}")
    if found.merged_into is not None and (target := store.incident(found.merged_into)) is not None:
        return target
    return found


def signature(store: Store, option: str, slug: str | None) -> None:
    """Raises UsageError for a signature that neither comes with Headwater nor has an incident."""
    from pipeline.signatures import load

    known = {path.parent.name for path in load.packaged().rglob(load.RULE_FILE)}
    if slug is None or slug in known or store.incidents(Query(signature=slug, limit=1)):
        return
    known |= {one.signature for one in store.statistics(Query(limit=_LOOKED_AT))}
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
