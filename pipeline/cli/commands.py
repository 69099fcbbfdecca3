"""`headwater`: the commands. Everything heavy is imported where it is used, so that `--help` is quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import commands_run, commands_store, commands_tell, options
from pipeline.cli.options import Config, Output
from pipeline.errors import CaptureError, HeadwaterError, SignatureError, UsageError

app = typer.Typer(
    name="headwater",
    help="Traces a Kubernetes networking disaster back to its source: what broke first, where, how we know, what to do now.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(commands_store.app)
app.add_typer(commands_run.app)
app.add_typer(commands_tell.app)
rules_app = typer.Typer(help="The signatures: list, show, check and test them.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")

Capture = Annotated[Path, typer.Argument(metavar="CAPTURE", help="Folder of a recorded outage.")]
Rules = Annotated[
    list[Path] | None,
    typer.Option(
        "--rules", metavar="FOLDER", help="Folder of signatures; may be given more than once. Default: the packaged ones."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what could not be used of the input.")]


@app.command()
def replay(
    capture: Capture,
    rules: Rules = None,
    output: Output = "tree",
    near_misses: Annotated[bool, typer.Option("--near-misses", help="Print what nearly was an incident as well.")] = False,
    batch_rows: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cut the input into batches of so many records.")
    ] = None,
    shuffle: Annotated[int | None, typer.Option(metavar="SEED", help="Shuffle records within the allowed lateness.")] = None,
    restart_every: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Save, tear down and restore after so many records.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the incidents in this store, for `show`, `search` and `similar`.")
    ] = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Replay a recorded outage and say what broke first."""
    from pipeline.cli import show, stores
    from pipeline.runtime.replay import Options

    form = options.output(output)
    found = show.replay(capture, rules, Options(batch_rows, shuffle, restart_every), form, config)
    if keep is not None:  # first: whoever reads the output may stop, as `head` does
        stores.keep(found, keep)
    show.incidents(found, output=form, near_misses=near_misses)
    show.troubles(found.troubles, found.counts, verbose=verbose)


@app.command(short_help="Say what any log text is evidence of.")
def scan(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Log files, folders, or - for standard input.")],
    rules: Rules = None,
    output: Output = "tree",
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Say what any log text is evidence of: kubectl logs, kubectl get events, dmesg, journalctl, log files."""
    from pipeline.cli import show_scan

    show_scan.scan(files, rules, output=options.output(output), verbose=verbose, config=config)


@app.command()
def demo() -> None:
    """Replay a recorded disaster that comes with Headwater."""
    from pipeline.cli import show

    show.demo()


@app.command()
def check(
    captures: Annotated[
        list[Path], typer.Argument(metavar="CAPTURE", help="Folders of recorded outages, each with its expect.yaml.")
    ],
    rules: Rules = None,
) -> None:
    """Compare replays with the truth in each capture's expect.yaml."""
    from pipeline.cli import show

    raise typer.Exit(show.check(captures, rules))


@rules_app.command("list")
def rules_list(
    rules: Rules = None,
    layer: Annotated[str | None, typer.Option(metavar="LAYER", help="Only signatures of this layer.")] = None,
    output: Output = "tree",
) -> None:
    """List the signatures: name, layer, title."""
    from pipeline.cli import show_rules

    show_rules.list_all(rules, layer, options.output(output))


@rules_app.command("show", short_help="Show one signature: what decides it, what to do.")
def rules_show(
    name: Annotated[str, typer.Argument(metavar="SIGNATURE", help="Folder name of a signature.")],
    rules: Rules = None,
) -> None:
    """Show one signature: what it is, what decides it, what it explains, what to do."""
    from pipeline.cli import show_rules

    show_rules.show(name, rules)


@rules_app.command("schema")
def rules_schema() -> None:
    """Print the JSON Schema of rule files, for editors."""
    from pipeline.cli import show_rules

    show_rules.schema()


@rules_app.command("check")
def rules_check(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Folders of signatures. Default: the packaged ones.")
    ] = None,
) -> None:
    """Print every problem of every rule file."""
    from pipeline.cli import show_rules

    raise typer.Exit(show_rules.check(folders))


@rules_app.command("test", short_help="Run every case of every signature.")
def rules_test(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="WHICH", help="Packaged signatures by name, or folders of signatures. Default: all."),
    ] = None,
    rules: Rules = None,
    run: Annotated[str | None, typer.Option(metavar="TEXT", help="Only signatures whose name contains this.")] = None,
    mutate: Annotated[
        bool, typer.Option("--mutate", help="Move every number and drop every clause in turn; name those no case notices.")
    ] = False,
) -> None:
    """Run every case of every signature: in order, shuffled, cut at every record and restarted."""
    from pipeline.cli import show_rules

    raise typer.Exit(show_rules.mutate(folders, run) if mutate else show_rules.test(folders, rules, run))


def run() -> None:
    """The command line; every expected failure is one message, without a traceback."""
    try:
        app(prog_name="headwater")
    except (SignatureError, CaptureError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except HeadwaterError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
