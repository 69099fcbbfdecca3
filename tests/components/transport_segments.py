"""The local log with segments so small that the battery fills many of them."""

from pathlib import Path


def settings(state: Path) -> dict[str, object]:
    """Small segments."""
    return {"segment_bytes": 1024}
