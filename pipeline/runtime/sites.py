"""What a site's configuration says of reading alone: its own signatures, and what writes which format."""

from dataclasses import dataclass
from pathlib import Path

from pipeline import config
from pipeline.engine.routing import NAMES, Assignment, Names
from pipeline.errors import ConfigError
from pipeline.signatures import load


@dataclass(frozen=True, slots=True)
class Site:
    """Folders of signatures (None: the packaged ones alone) and formats by names."""

    rules: list[Path] | None
    names: Names


def read(path: Path | None) -> Site:
    """The site of a configuration file; without one, nothing of its own. Raises ConfigError."""
    if path is None:
        return Site(None, Names())
    if not path.is_file():
        raise ConfigError(f"reading the configuration {path}: there is no such file; name one, or leave --config out")
    return of(config.load(path, only={"rules", "parsers"}).settings)


def of(settings: config.Settings) -> Site:
    """The site of settings that are at hand."""
    folders = [load.packaged(), *settings.rules] if settings.rules else None
    return Site(folders, Names([_assignment(given) for given in settings.parsers]))


def _assignment(given: config.Assignment) -> Assignment:
    patterns = tuple((name, regex) for name in NAMES if (regex := getattr(given, name)) is not None)
    return Assignment(given.format, patterns)
