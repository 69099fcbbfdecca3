"""Running the service in the foreground: its log on standard error, ended by SIGTERM or Ctrl-C."""

import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import structlog

from pipeline import config as configuration
from pipeline.errors import ConfigError
from pipeline.runtime import memory, report, wiring
from pipeline.runtime.health import Health
from pipeline.runtime.housekeeping import Housekeeping
from pipeline.runtime.service import Service
from pipeline.runtime.troubles import log

GRACE = 5.0
"""Seconds that a stop gives to deliveries that are on their way; a stop is to take no more than 10 in all."""


def run(path: Path | None) -> None:
    """Run until a signal, or until all sources have ended."""
    found = configuration.find(path)
    if found is None:
        raise ConfigError(
            "running the service: there is no configuration; write one (deploy/headwater.yaml is an example) as headwater.yaml "
            "or /etc/headwater/headwater.yaml, or name it with --config"
        )
    config = configuration.load(found)
    if not config.sources:
        raise ConfigError(f"running the service: {found} names no `sources`; see deploy/headwater.yaml")
    _speak()
    memory.keep_blocks()
    with wiring.opened(config) as service:
        housekeeping = Housekeeping(service, config)
        health = Health(config.settings.listen, service.desk.ask, lambda: report.healthy(service))
        _listen_to_signals(service)
        try:
            _begin(service, config, health)
            housekeeping.start()
            service.run()
        finally:
            health.close()
            housekeeping.close()
            service.close(GRACE)
            log.info("stopped")


def _begin(service: Service, config: configuration.Config, health: Health) -> None:
    log.info(
        "started",
        sources=", ".join(chosen.name for chosen in config.sources),
        signatures=len(service.parts.site.ruleset.signatures),
        state=str(config.settings.state),
        address=health.address,
    )
    if not config.sinks:
        log.warning("no sink is configured: incidents are kept, and nobody is told")
    elif config.settings.route.receiver is None and not config.settings.route.routes:
        log.warning("the route names no receiver: incidents are kept, and nobody is told")


def _listen_to_signals(service: Service) -> None:
    def leave(_signal: int, _frame: FrameType | None) -> None:
        service.stop()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


def _speak() -> None:
    """One line an event on standard error: for people on a terminal, else as logfmt."""
    person = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer()
        if person
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
