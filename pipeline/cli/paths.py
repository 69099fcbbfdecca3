"""Paths that are not there, answered with the nearest one that is."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import CaptureError, UsageError


def hint(path: Path) -> str:
    """`; did you mean 'X'?` for a path that does not exist, where a name like its first missing part stands in that place."""
    parts = path.parts
    for number, part in enumerate(parts):
        parent = Path(*parts[:number])
        if (parent / part).exists():
            continue
        near = difflib.get_close_matches(part, [found.name for found in parent.iterdir()], 1) if parent.is_dir() else []
        guess = Path(parent, *near, *parts[number + 1 :])
        return f"; did you mean '{guess if guess.exists() else Path(parent, *near)}'?" if near else ""
    return ""


def capture(path: Path) -> Path:
    """The folder of a capture. Raises CaptureError where there is nothing of the name."""
    if not path.exists():
        raise CaptureError(
            f"reading the capture {path}: there is no such folder{hint(path) or '; name one that holds capture.yaml'}"
        )
    return path


def rules(folders: Sequence[Path] | None) -> list[Path] | None:
    """Folders of signatures. Raises UsageError for one that does not exist."""
    for path in folders or ():
        if not path.exists():
            found = hint(path) or "; name one that holds rule.yaml files"
            raise UsageError(f"rules cannot be read from {path}: there is no such folder{found}")
    return list(folders) if folders else None


def files(names: Sequence[str]) -> list[str]:
    """Log files, folders, or `-`. Raises UsageError for one that does not exist."""
    for name in names:
        if name != "-" and not Path(name).exists():
            found = hint(Path(name)) or "; name log files, folders, or - for standard input"
            raise UsageError(f"scanning {name}: there is no such file{found}")
    return list(names)
