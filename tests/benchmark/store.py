"""`python -m tests.benchmark.store`: a store of many evidence lines. How fast it is opened, searched and written, and how large it is.

Incidents are those of recordings, spread over a year, with every number in them changed. A search is measured in the process
that serves it; `headwater search` adds the start of a command.
"""

import argparse
import dataclasses
import functools
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import contracts
from pipeline.contracts.store import Feedback, Query, Store
from pipeline.model import public
from pipeline.model.incident import Incident, Record
from tests.components.lives import HOUR, START, record, replayed

RECORDINGS = ("conntrack-table-full", "coredns-oom-crashloop", "endpoints-lag", "haproxy-server-down", "mtu-blackhole")
SEARCHES = (
    "conntrack",
    "dropping packet",
    '"table full" node-b',
    "10.244.1.*",
    "checkout timed out",
    "4026530123",
    "getaddrinfo*",
    "10.24*",
    "e*",
)
BATCH = 200
YEAR = 8766 * HOUR


def main() -> None:
    """Fill a store, measure and print a Markdown report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.store", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="evidence lines")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as scratch:
        _report(Path(scratch), arguments.lines, arguments.repeats)


def opened(folder: Path) -> Store:
    """The store of a folder."""
    module = contracts.find("stores", "sqlite")
    store: Store = module.create(module.Settings(), contracts.Context("bench", folder, "store"))
    return store


def records(lines: int, seed: int = 1) -> Iterator[Record]:
    """Incidents with so many evidence lines in all, oldest first."""
    drawn = random.Random(seed)  # noqa: S311 (a benchmark, no secret)
    originals = [[one.incident for one in replayed(name)] for name in RECORDINGS]
    disasters = max(1, lines * len(originals) // sum(len(one.lines) for found in originals for one in found))
    given = 0
    for number in range(disasters * 2):
        if given >= lines:
            return
        for one in _copies(originals[number % len(originals)], START + YEAR * number // disasters, drawn):
            yield record(one)
            given += len(one.lines)


def _copies(found: list[Incident], start: int, drawn: random.Random) -> Iterator[Incident]:
    """One disaster at another time, with other ids, nodes, pods and numbers."""
    ids = {one.id: f"{drawn.getrandbits(64):016x}" for one in found}
    moved = start - found[0].started
    node = f"node-{drawn.randrange(200)}"
    for one in found:
        yield dataclasses.replace(
            one,
            id=ids[one.id],
            cause=ids.get(one.cause or ""),
            symptoms=tuple(ids[other] for other in one.symptoms),
            causes=tuple(dataclasses.replace(share, id=ids[share.id]) for share in one.causes),
            started=one.started + moved,
            detected=one.detected + moved,
            last=one.last + moved,
            ended=one.last + moved,
            group={key: value.replace("node-b", node) for key, value in one.group.items()},
            entities={k: {v.replace("node-b", node): n for v, n in values.items()} for k, values in one.entities.items()},
            lines=tuple(
                dataclasses.replace(
                    line,
                    at=line.at + moved,
                    text=re.sub(r"\d{2,}", lambda _: str(drawn.randrange(10, 10_000)), line.text),
                )
                for line in one.lines
            ),
        )


def _report(folder: Path, lines: int, repeats: int) -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}, medians of {repeats}, one core\n")
    store = opened(folder)
    some: list[Record] = []
    incidents = rows = 0
    spent = 0.0
    for one in records(lines):
        some.append(one)
        incidents, rows = incidents + 1, rows + len(one.incident.lines)
        if len(some) == BATCH:
            spent += _seconds(functools.partial(store.save, some, START))
            some = []
    store.save(some, START)
    text = sum(len(line["text"]) for found in store.incidents(Query(limit=1000)) for line in found.incident["evidence"]["lines"])
    store.close()
    size = (folder / "incidents.db").stat().st_size
    print(f"{rows:,} evidence lines of {incidents:,} incidents: {size / 2**20:,.0f} MiB, {size / rows:,.0f} bytes a line")
    print(
        f"(a line is {text * incidents // min(1000, incidents) // rows} bytes of text); written at {rows / spent:,.0f} lines/s\n"
    )
    _measured(folder, repeats)


def _measured(folder: Path, repeats: int) -> None:
    print("| | ms | found |\n|---|---|---|")
    _row("open, and the first list", repeats, lambda: _first(folder))
    store = opened(folder)
    newest = store.incidents(Query(roots=True, limit=1))[0]
    for text in SEARCHES:
        _row(f"search `{text}`", repeats, lambda text=text: store.search(text, Query(limit=20)))
    middle = public.microseconds(newest.incident["started"]) - YEAR // 2
    within = Query(since=middle, until=middle + 24 * HOUR, limit=20)
    _row("search `conntrack`, one day", repeats, lambda: store.search("conntrack", within))
    _row(
        "search `conntrack`, roots on one node",
        repeats,
        lambda: store.search("conntrack", Query(entity="node-7", roots=True, limit=20)),
    )
    _row("incidents, newest 100", repeats, lambda: store.incidents(Query()))
    _row("incidents of a node", repeats, lambda: store.incidents(Query(entity="node-7", roots=True)))
    _row("show one", repeats, lambda: [store.incident(newest.id)])
    _row("similar", repeats, lambda: store.similar(newest.id))
    _row("stats", repeats, lambda: store.statistics(Query()))
    said = Feedback(newest.thread, START, "right", "bench", note="a note")
    _row("feedback", repeats, lambda: [store.add_feedback(said)])
    one = record(dataclasses.replace(_stored(newest.id), started=START + 2 * YEAR))
    _row(
        "save one incident", repeats, lambda: [store.save([dataclasses.replace(one, thread=str(time.perf_counter_ns()))], START)]
    )
    before = store.size()
    begin = time.perf_counter()
    dropped = store.retain(START + 3 * YEAR, age=None, size=before * 9 // 10)
    print(f"| drop {dropped:,} incidents, a tenth of the size ({before / 2**20:,.0f} to {store.size() / 2**20:,.0f} MiB) "
          f"| {(time.perf_counter() - begin) * 1000:,.0f} | |")  # fmt: skip
    store.close()


def _first(folder: Path) -> object:
    store = opened(folder)
    found = store.incidents(Query(limit=20))
    store.silences(START)
    store.close()
    return found


def _stored(identity: str) -> Incident:
    return dataclasses.replace(replayed(RECORDINGS[0])[0].incident, id=identity)


def _row(label: str, repeats: int, work: Callable[[], object]) -> None:
    found: list[object] = []
    spent = statistics.median(_seconds(lambda: found.append(work())) for _ in range(repeats))
    number = len(found[-1]) if isinstance(found[-1], list) else ""
    print(f"| {label} | {spent * 1000:,.1f} | {number} |", flush=True)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
