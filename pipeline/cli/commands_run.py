"""The commands of the running service: run it, look at it, look at its configuration."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.cli.options import Config, Output

File = Annotated[Path | None, typer.Argument(metavar="FILE", help="The same as --config FILE.")]

app = typer.Typer()
config_app = typer.Typer(help="The configuration: check it, show it.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.command(short_help="Run the service: follow sources, tell of incidents.")
def run(config: Config = None) -> None:
    """Run the service: follow the configured sources, keep incidents, and tell of them once, as they develop. SIGTERM ends it."""
    from pipeline.cli import running

    running.run(config)


@app.command(short_help="Say how the running service is.")
def status(config: Config = None, output: Output = "tree") -> None:
    """Say how the running service is: each source, the rules and their cost, what waits, caps reached, what went wrong."""
    from pipeline.cli import show_status

    raise typer.Exit(show_status.status(config, options.output(output)))


@config_app.command("check")
def config_check(file: File = None, config: Config = None) -> None:
    """Print every problem of the configuration and of the rules it names; nothing is started."""
    from pipeline.cli import show_config

    show_config.check(file or config)


@config_app.command("show")
def config_show(file: File = None, config: Config = None) -> None:
    """Print the configuration as it is used, defaults and environment included; secrets are not shown."""
    from pipeline.cli import show_config

    show_config.show(file or config)
