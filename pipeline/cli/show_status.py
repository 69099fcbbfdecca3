"""How the running service is, for people."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import config as configuration
from pipeline.errors import HeadwaterError
from pipeline.model import words

PATIENCE = 10.0
SHOWN = 5
"""Of the rules and of what went wrong, so many are printed; JSON has all."""

Report = Mapping[str, Any]


def status(path: Path | None, output: str) -> int:
    """Print it. Exit status 0 where all is well, 1 where something is not."""
    report = _asked(configuration.load(path, only={"listen"}).settings.listen)
    if output == "json":
        print(json.dumps(report))
    else:
        print("\n".join(_lines(report)))
    return 0 if report["ready"] and all(source["alive"] for source in report["sources"]) else 1


def _asked(listen: str) -> Report:
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 (somebody may listen everywhere)
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise HeadwaterError(
            f"asking the service at {listen}: {error}; is `headwater run` running, with this configuration?"
        ) from error
    finally:
        connection.close()
    if answer.status != 200:  # noqa: PLR2004 (HTTP's)
        raise HeadwaterError(f"asking the service at {listen}: {body.decode(errors='replace').strip()}")
    report: Report = json.loads(body)
    return report


def _lines(report: Report) -> Iterator[str]:
    state = "ready" if report["ready"] else "reading what came before the start"
    yield f"Headwater {report['version']}, process {report['pid']}: {state}; events up to {report['event_time'] or 'none yet'}"
    yield ""
    yield "Sources"
    yield from _table([_source(source) for source in report["sources"]])
    yield from _rules(report["rules"])
    yield from _receivers(report["receivers"])
    yield from _state(report)
    if report["troubles"]:
        yield ""
        yield "Troubles"
        for trouble in report["troubles"][-SHOWN:]:
            yield f"  {trouble['count']} x {trouble['kind']} at {trouble['at']}, last: {trouble['last']}"


def _source(source: Report) -> list[str]:
    unread = f"{_bytes(source['unread_bytes'])} unread" if source["unread_bytes"] else ""
    last = f"last {words.lasted(round(source['seconds_since_last'] * 1e6))} ago" if source["batches"] else "nothing yet"
    lag = f"lag {words.lasted(round(source['lag_seconds'] * 1e6))}" if source["lag_seconds"] is not None else ""
    streams = f"{source['streams']} {'stream' if source['streams'] == 1 else 'streams'}"
    alive = "alive" if source["alive"] else "DOWN"
    return [source["name"], alive, streams, _bytes(source["bytes"]), f"{_bytes(source['bytes_per_second'])}/s", last, lag, unread,
            source["error"]]  # fmt: skip


def _rules(rules: Report) -> Iterator[str]:
    yield ""
    yield f"Rules       {rules['signatures']} signatures; the last look took {rules['look_seconds'] * 1e3:.0f} ms"
    dearest = list(rules["seconds"].items())[:SHOWN]
    yield from _table([["dearest", name, f"{seconds:.3f} s"] for name, seconds in dearest])
    busiest = sorted(rules["candidates"].items(), key=lambda item: -item[1])[:SHOWN]
    yield from _table([["busiest", name, f"{n} candidates", f"{rules['rows'].get(name, 0)} rows kept"] for name, n in busiest])
    for name, number in rules["errors"].items():
        yield f"  {name} FAILED {number} times"


def _receivers(receivers: Mapping[str, Report]) -> Iterator[str]:
    if not receivers:
        return
    yield ""
    yield "Receivers"
    rows = []
    for name, status in receivers.items():
        down = f"DOWN: {status['error']}" if status["down_since"] else ""
        rows.append([name, f"{status['sent']} sent", f"{status['pending']} pending", f"{status['failed']} given up", down])
    yield from _table(rows)


def _state(report: Report) -> Iterator[str]:
    checkpoint = report["checkpoint"]
    ago = f"{checkpoint['seconds_ago']:.0f} s ago" if checkpoint["seconds_ago"] is not None else "none yet"
    failed = ", the last try FAILED" if checkpoint["failed"] else ""
    counted = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sorted(report["incidents"].items()))
    yield ""
    yield f"Incidents   {counted or 'none'}; {report['store']['unsaved']} not in the store yet"
    yield f"Checkpoint  {ago}, {_bytes(checkpoint['bytes'])} in {checkpoint['seconds'] * 1e3:.0f} ms{failed}"
    broken = "" if report["log"]["writable"] else f" NOT WRITABLE: {report['log']['error']}"
    yield f"Log         {_bytes(report['log']['bytes'])}{broken}"
    for cap, number in report["caps"].items():
        yield f"Cap reached {cap}: {number}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":  # noqa: PLR2004 (a unit's size)
            return f"{number:.0f} {unit}"
        number /= 1024
    return ""
