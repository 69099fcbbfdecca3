"""The configuration for people: what is wrong with it, and what it comes to."""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.runtime import sites, wiring


def check(path: Path | None) -> None:
    """Raises ConfigError or SignatureError with every problem."""
    config = _loaded(path)
    ruleset = wiring.site(config).ruleset
    names = [chosen.name for chosen in config.sources]
    sinks = [chosen.name for chosen in config.sinks]
    print(f"{config.path or 'the defaults'}: good")
    print(f"sources     {', '.join(names) or 'none: there is nothing to run'}")
    print(f"signatures  {len(ruleset.signatures)}")
    print(f"sinks       {', '.join(sinks) or 'none: nobody is told'}")


def show(path: Path | None) -> None:
    """Print it as YAML that could be read again, but for the secrets."""
    config = _loaded(path)
    plain = config.settings.model_dump(mode="json", by_alias=True, exclude={"sources", "log", "store", "sinks"})
    settings = config.settings
    kept = zip(settings.sources, config.sources, strict=True)
    plain["sources"] = [{"type": s.type, "name": chosen.name, "keep": s.keep, **_own(chosen.settings)} for s, chosen in kept]
    for name, component, chosen in (("log", settings.log, config.log), ("store", settings.store, config.store)):
        plain[name] = {"type": component.type, "retention": component.retention.model_dump(mode="json"), **_own(chosen.settings)}
    plain["sinks"] = {chosen.name: {"type": chosen.type, **_own(chosen.settings)} for chosen in config.sinks}
    YAML().dump(_tidy(plain), sys.stdout)


def _loaded(path: Path | None) -> Config:
    if path is not None and not path.is_file():
        raise UsageError(f"reading the configuration {path}: there is no such file")
    config = configuration.load(path)
    sites.of(config.settings)
    return config


def _own(settings: BaseModel) -> dict[str, Any]:
    return settings.model_dump(mode="json", by_alias=True)


def _tidy(value: Any) -> Any:  # noqa: ANN401 (values of YAML)
    """Without what is not set."""
    if isinstance(value, dict):
        return {key: _tidy(item) for key, item in value.items() if item is not None and item not in ({}, [])}
    return [_tidy(item) for item in value] if isinstance(value, list) else value
