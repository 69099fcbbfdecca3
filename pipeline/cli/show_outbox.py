"""Deliveries that wait or were given up, on the terminal or as JSON lines."""

from contextlib import closing
from pathlib import Path
from typing import Any

from rich.text import Text

from pipeline.cli import paths, stored, tree
from pipeline.contracts import message
from pipeline.contracts.sink import from_json
from pipeline.errors import StateError
from pipeline.model import public
from pipeline.runtime.ledger import FILE, Ledger, Row

STATES = {"pending": "waits", "failed": "GIVEN UP"}
PATIENCE = 10.0
"""Seconds to wait for the service to let go of the file."""


def show(state: Path, limit: int, output: str) -> None:
    """Print them, oldest first. Raises StateError where there is no state folder, StoreError where it cannot be read."""
    path = state / FILE
    if not path.exists():
        hint = paths.hint(path) or "; `headwater run` makes it; name another state folder with --state or --config"
        raise StateError(f"opening the state {path}: there is no such file{hint}")
    with closing(Ledger(path, patience=PATIENCE)) as ledger:
        rows = [row for name in STATES for row in reversed(ledger.listed(name, limit))]
        found = [_as_dict(row, ledger.content(row)) for row in rows]
    if output == "json":
        for delivery in found:
            stored.print_json(delivery)
        return
    out = tree.console()
    for delivery in found:
        out.print(_head(delivery))
        if delivery["error"]:
            out.print(Text(f"    {delivery['error']}", "dim"))
    if not found:
        out.print("Nothing waits, and nothing was given up.")


def _as_dict(row: Row, content: str) -> dict[str, Any]:
    notification = from_json(content)
    return {
        "state": row.state,
        "receiver": row.receiver,
        "event": row.event,
        "title": message.of(notification).title,
        "decided": public.rfc3339(notification.at),
        "attempts": row.attempts,
        "error": row.error,
        "thread": row.thread,
        "key": row.key,
    }


def _head(delivery: dict[str, Any]) -> Text:
    attempts = f"{delivery['attempts']} attempt{'' if delivery['attempts'] == 1 else 's'}"
    facts = (stored.when(delivery["decided"]), delivery["receiver"], STATES[delivery["state"]], attempts, delivery["event"])
    return Text("  ").join([*map(Text, facts), Text(delivery["title"], "bold")])
