"""Trying receivers out: a real notification through the real sinks, past the outbox."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

from pipeline import config as configuration
from pipeline.config import Chosen, Config
from pipeline.contracts.sink import Sink
from pipeline.errors import ConfigError, DeliveryError, UsageError, nearest
from pipeline.runtime import notify, wiring


def send(path: Path | None, names: Sequence[str]) -> int:
    """Send a test to these receivers, or to all; print what happened. Exit status 1 where one failed."""
    config = configuration.load(path)
    failed = 0
    for chosen in _chosen(config, names):
        now = time.time()
        with closing(cast("Sink", wiring.create(chosen, config))) as sink:
            said = _tried(sink, now)
        failed += said.startswith("FAILED")
        print(f"{chosen.name}: {said}")
    return 1 if failed else 0


def _chosen(config: Config, names: Sequence[str]) -> Sequence[Chosen]:
    known = {chosen.name: chosen for chosen in config.sinks}
    if not known:
        raise ConfigError(f"sending a test: {config.path or 'the configuration'} names no `sinks`; see deploy/headwater.yaml")
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"there are {', '.join(known)}"
            raise UsageError(f"sending a test to {name}: there is no such sink in the configuration; {hint}")
    return [known[name] for name in dict.fromkeys(names)] or config.sinks


def _tried(sink: Sink, now: float) -> str:
    try:
        receipt = sink.deliver(notify.trial(round(now * 1e6)), None, repeat=False, now=now)
    except DeliveryError as error:
        return f"FAILED: {error}"
    missed = [f"\n  but not: {text}" for text in receipt.get("missed", ())]
    return f"told{''.join(missed)}"
