"""The log in memory: nothing outlives it."""

from pathlib import Path

durable = False


def settings(state: Path) -> dict[str, object]:
    """Nothing to set."""
    return {}
