"""A capture through the engine, from the folder to the incidents at its end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.engine.engine import Engine
from pipeline.engine.routing import Names
from pipeline.model.incident import Incident
from pipeline.model.stream import RawBatch, Stream
from pipeline.runtime import memory, merge
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet


@dataclass(slots=True)
class Replay:
    """What a replay found. `troubles` are one line each about input that could not be used."""

    title: str
    cluster: str
    incidents: list[Incident]
    counts: dict[tuple[str, str], int]
    troubles: list[str] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """Records read."""
        return sum(number for (metric, _), number in self.counts.items() if metric == "lines")


@dataclass(frozen=True, slots=True)
class Options:
    """How to cut the input: by default whole blocks; `batch_rows` records a batch, `shuffle` a seed, `restart_every` records."""

    batch_rows: int | None = None
    shuffle: int | None = None
    restart_every: int | None = None


def run(
    path: Path,
    ruleset: RuleSet,
    *,
    options: Options | None = None,
    names: Names | None = None,
    progress: Callable[[int], None] | None = None,
) -> Replay:
    """Replay the capture in a folder. Raises CaptureError when it cannot be read; `progress` is told the bytes taken in."""
    options = options or Options()
    memory.keep_blocks()
    capture = import_module("connectors.sources.capture").open_capture(path)
    engine = Engine(ruleset, cluster=capture.cluster, cache=load.cache_folder(), names=names)
    engine.feed(capture.topology())
    files = [(file.stream, _reader(capture, file)) for file in capture.files]
    since_restart = 0
    for batches in _batches(files, options):
        engine.feed(batches)
        if options.restart_every:
            since_restart += sum(batch.data.count(b"\n") for batch in batches)
        if options.restart_every and since_restart >= options.restart_every:
            engine = Engine.restore(engine.snapshot(), ruleset, cache=load.cache_folder(), names=names)
            since_restart = 0
        if progress:
            progress(sum(len(batch.data) for batch in batches))
    engine.finish()
    return Replay(
        capture.title,
        capture.cluster,
        engine.incidents(),
        dict(engine.state.counts),
        [*capture.troubles, *troubles(engine)],
    )


def _batches(files: list[tuple[Stream, merge.Reader]], options: Options) -> Iterator[list[RawBatch]]:
    if options.batch_rows is None and options.shuffle is None and options.restart_every is None:
        return merge.merged(files)
    rows = options.batch_rows or options.restart_every or 10_000
    return merge.cut(files, rows=min(rows, options.restart_every or rows), seed=options.shuffle)


def _reader(capture: Any, file: Any) -> merge.Reader:
    return lambda block: capture.read(file, block=block)


def troubles(engine: Engine) -> list[str]:
    """What the parsers did not understand, a line a kind with an example."""
    state = engine.state
    lines = [f"{name}: implausible times, which nothing else confirms, were not believed" for name in state.clocks.implausible()]
    for (metric, label), number in sorted(state.counts.items()):
        if metric in ("lines", "plain", "rows", "sampled", "unknown"):
            continue
        example = state.samples_of_trouble.get((metric, label))
        lines.append(f"{label}: {number} {metric.replace('_', ' ')}" + (f", first: {example!r}" if example else ""))
    return lines
