"""From a configuration to a service: components by their names, opened in an order in which a failure leaves nothing behind."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline import contracts, parsers
from pipeline.config import Chosen, Config
from pipeline.contracts import Context
from pipeline.contracts.sink import Sink
from pipeline.contracts.store import Store
from pipeline.runtime import ledger, sites
from pipeline.runtime.analysis import Site
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.inputs import Input, Inputs
from pipeline.runtime.lock import Lock
from pipeline.runtime.selfcheck import NAME, SelfCheck
from pipeline.runtime.service import Parts, Service
from pipeline.signatures import load

PATIENCE = 1.0
"""Seconds that a call of the reading thread may wait for a file that another process has locked."""


def create(chosen: Chosen, config: Config, *, patience: float = PATIENCE) -> object:
    """A component, as the configuration has it."""
    settings = config.settings
    nodes = {name: node.zone for name, node in settings.nodes.items()}
    context = Context(settings.cluster, settings.state, chosen.name, nodes, patience)
    component: object = contracts.find(chosen.kind, chosen.type).create(chosen.settings, context)
    return component


def site(config: Config, cache: Path | None = None) -> Site:
    """What the engine is made of. Raises SignatureError with every problem of every rule file."""
    found = sites.of(config.settings)
    ruleset = load.load(parsers.vocabulary(), found.rules, cache=cache)
    return Site(ruleset, config.settings.cluster, found.names, cache)


def sinks(config: Config) -> dict[str, Sink]:
    """Every sink, by its name."""
    return {chosen.name: create(chosen, config) for chosen in config.sinks}  # type: ignore[misc]  # the contract says so


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Service]:
    """A service that holds its state folder. Raises what any part may refuse; then nothing stays open."""
    settings = config.settings
    with contextlib.ExitStack() as stack:
        made = site(config, load.cache_folder())
        lock = Lock(settings.state)
        stack.callback(lock.close)
        kept = ledger.Ledger(settings.state / ledger.FILE)
        stack.callback(kept.close)
        store: Store = create(config.store, config)  # type: ignore[assignment]  # the contract says so
        stack.callback(store.close)
        store.silences(0)  # a file that is not ours is refused now, not with the first incident
        log = create(config.log, config)
        selfcheck = SelfCheck(settings.cluster, uuid.uuid4().hex[:12])
        sources = [_input(chosen, config, at) for at, chosen in enumerate(config.sources)]
        own = Input(NAME, "selfcheck", selfcheck, kept=True)
        inputs = Inputs([*sources, own], log)  # type: ignore[arg-type]
        stack.callback(inputs.close)
        told = sinks(config)
        updates = {name: sink.updates for name, sink in told.items()}

        def dispatcher(known: bytes | None) -> Dispatcher:
            return Dispatcher(settings.route, updates, settings.link, known)

        yield Service(Parts(made, inputs, store, kept, told, selfcheck, dispatcher))


def _input(chosen: Chosen, config: Config, at: int) -> Input:
    source = create(chosen, config)
    kept = config.settings.sources[at].keep or not source.rereadable  # type: ignore[attr-defined]
    return Input(chosen.name, chosen.type, source, kept)  # type: ignore[arg-type]
