"""The commands that read what is kept of past incidents, and add what people say of them."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.cli.options import Author, Config, Output, State

app = typer.Typer()

File = Annotated[Path | None, typer.Option("--store", metavar="FILE", help="The store. Default: as the configuration says.")]
Identity = Annotated[str, typer.Argument(metavar="ID", help="An incident's id, or its first letters.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="What was going on since: 2h (ago), or RFC 3339.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="What had begun until: 2h (ago), or RFC 3339.")]
Signature = Annotated[str | None, typer.Option(metavar="SIGNATURE", help="Only incidents of this signature.")]
Layer = Annotated[str | None, typer.Option(metavar="LAYER", help="Only incidents of this layer.")]
Level = Annotated[str | None, typer.Option(metavar="LEVEL", help="Only incidents of this level.")]
Entity = Annotated[str | None, typer.Option(metavar="NAME", help="Only what touched it: node-b, shop/cart, KEY=VALUE.")]
Status = Annotated[str | None, typer.Option(metavar="STATUS", help="Only firing, resolved or near_miss.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")]


@app.command()
def incidents(
    store: File = None,
    state: State = None,
    config: Config = None,
    since: Since = None,
    until: Until = None,
    signature: Signature = None,
    layer: Layer = None,
    level: Level = None,
    entity: Entity = None,
    status: Status = None,
    roots: Annotated[bool, typer.Option("--roots/--all", help="Only root causes, or symptoms and near misses too.")] = True,
    limit: Limit = 50,
    output: Output = "tree",
) -> None:
    """List past and present incidents, newest first."""
    from pipeline.cli import filters, show_incidents, stores

    form = options.output(output)
    query = filters.query(
        since=since, until=until, signature=signature, layer=layer, level=level, entity=entity, status=status, limit=limit,
        roots=roots and status != "near_miss",
    )  # fmt: skip
    with stores.opened(store, state, config) as opened:
        show_incidents.incidents(opened, query, form)


@app.command(short_help="Show one incident: tree, timeline, what to do.")
def show(
    identity: Identity,
    store: File = None,
    state: State = None,
    config: Config = None,
    sink: Annotated[
        str | None, typer.Option("--as", metavar="SINK", help="What slack, webhook, ... would be sent of it, instead.")
    ] = None,
    output: Output = "tree",
) -> None:
    """Show one incident: what broke and what hung below it, the evidence of all sources in order of time, what to do, how it
    developed, what people said of it.
    """
    from pipeline.cli import show_incident, stores

    form = options.output(output)
    with stores.opened(store, state, config) as opened:
        if sink is not None:
            show_incident.as_sent(opened.store, identity, sink)
        else:
            show_incident.show(opened.store, identity, form)


@app.command(short_help="Search titles, evidence, entities and notes.")
def search(
    text: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="Words (all of them), '\"a phrase\"', the beginning of a 'wor*'.")
    ],
    store: File = None,
    state: State = None,
    config: Config = None,
    since: Since = None,
    until: Until = None,
    signature: Signature = None,
    layer: Layer = None,
    entity: Entity = None,
    limit: Limit = 20,
    output: Output = "tree",
) -> None:
    """Search titles, evidence, entities and notes of past incidents, best first."""
    from pipeline.cli import filters, show_incidents, stores

    form = options.output(output)
    query = filters.query(since=since, until=until, signature=signature, layer=layer, entity=entity, limit=limit)
    with stores.opened(store, state, config) as opened:
        show_incidents.search(opened, text, query, form)


@app.command(short_help="Find past incidents like one, and what ended them.")
def similar(
    identity: Identity, store: File = None, state: State = None, config: Config = None, limit: Limit = 10, output: Output = "tree"
) -> None:
    """Find past incidents like one, best first: why they are alike, what people said of them, what ended them."""
    from pipeline.cli import show_incidents, stores

    form = options.output(output)
    with stores.opened(store, state, config) as opened:
        show_incidents.similar(opened.store, identity, limit, form)


@app.command(short_help="Say whether the cause of an incident was right.")
def feedback(
    identity: Identity,
    verdict: Annotated[str, typer.Argument(metavar="right|wrong", help="Was it the cause?")],
    store: File = None,
    state: State = None,
    config: Config = None,
    cause: Annotated[str | None, typer.Option(metavar="SIGNATURE", help="The signature that it was in truth.")] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What it was, what ended it.")] = "",
    author: Author = None,
) -> None:
    """Say whether the cause of an incident was right. It is shown, searched, and moves what `similar` finds."""
    from pipeline.cli import feedback as given
    from pipeline.cli import stores

    with stores.opened(store, state, config) as opened:
        given.add(opened, identity, given.Said(verdict, cause, note, options.author(author, "feedback")))


@app.command(short_help="Count incidents by signature and place.")
def stats(
    store: File = None,
    state: State = None,
    config: Config = None,
    since: Since = None,
    until: Until = None,
    signature: Signature = None,
    layer: Layer = None,
    entity: Entity = None,
    limit: Limit = 50,
    output: Output = "tree",
) -> None:
    """Count root causes by signature and place: how often, how long, when last, how often marked right or wrong."""
    from pipeline.cli import filters, show_incidents, stores

    form = options.output(output)
    query = filters.query(since=since, until=until, signature=signature, layer=layer, entity=entity, limit=limit)
    with stores.opened(store, state, config) as opened:
        show_incidents.stats(opened, query, form)
