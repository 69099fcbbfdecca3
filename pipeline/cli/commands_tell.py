"""The commands about who is told: try a receiver, hold something back, see what waits."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.cli.options import Author, Config, Output, State

app = typer.Typer()
notify_app = typer.Typer(help="Who is told of incidents: try it.", no_args_is_help=True)
app.add_typer(notify_app, name="notify")
silences_app = typer.Typer(help="Silences: hold back what is known, for a time.", no_args_is_help=True)
app.add_typer(silences_app, name="silences")

File = Annotated[Path | None, typer.Option("--store", metavar="FILE", help="The store. Default: as the configuration says.")]


@notify_app.command("test", short_help="Send a test through the sinks of the configuration.")
def notify_test(
    receivers: Annotated[
        list[str] | None, typer.Argument(metavar="RECEIVER", help="Names of sinks in the configuration. Default: all.")
    ] = None,
    config: Config = None,
) -> None:
    """Send a test notification through the sinks of the configuration, and say of each what happened."""
    from pipeline.cli import trial

    raise typer.Exit(trial.send(config, receivers or []))


@silences_app.command("list", short_help="List the silences that have not ended.")
def silences_list(store: File = None, state: State = None, config: Config = None, output: Output = "tree") -> None:
    """List the silences that have not ended. Those that were made in an Alertmanager are honoured too, and listed there."""
    from pipeline.cli import silences, stores

    form = options.output(output)
    with stores.opened(store, state, config) as opened:
        silences.show(opened.store, form)


@silences_app.command("add", short_help="Hold back what has certain labels.")
def silences_add(
    matchers: Annotated[
        list[str], typer.Argument(metavar="MATCHER", help="As in Alertmanager, all must hold: node=node-b, 'layer=~dns|node'.")
    ],
    store: File = None,
    state: State = None,
    config: Config = None,
    span: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90m, 2h, 3d.")] = "2h",
    author: Author = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
) -> None:
    """Hold back what begins and changes with such labels: alertname, signature, layer, cluster, severity, and what the incident
    is about (node, namespace, service, workload, pod, zone, ...). The end of what was told is told. It takes effect within 10 s.
    """
    from pipeline.cli import silences, stores

    with stores.opened(store, state, config) as opened:
        silences.add(opened.store, matchers, silences.Said(span, options.author(author, "silencing"), comment))


@silences_app.command("end", short_help="End a silence now.")
def silences_end(
    identity: Annotated[str, typer.Argument(metavar="ID", help="A silence's id, or its first letters.")],
    store: File = None,
    state: State = None,
    config: Config = None,
) -> None:
    """End a silence now: what it holds back and still goes on is told."""
    from pipeline.cli import silences, stores

    with stores.opened(store, state, config) as opened:
        silences.end(opened.store, identity)


@app.command(short_help="List deliveries that wait or were given up.")
def outbox(
    state: State = None,
    config: Config = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many of each, newest first.")] = 50,
    output: Output = "tree",
) -> None:
    """List deliveries that wait, and those that were given up in the last week, with what went wrong."""
    from pipeline.cli import show_outbox, stores

    form = options.output(output)
    show_outbox.show(state or stores.configured(config).settings.state, limit, form)
