"""Options that several commands have."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UsageError

Output = Annotated[str, typer.Option("--output", "-o", metavar="FORM", help="tree for people, json for machines.")]

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration (headwater.yaml)."),
]

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="The state folder of the service. Default: HEADWATER_STATE, or what the configuration says.",
    ),
]

Author = Annotated[str | None, typer.Option(metavar="NAME", help="Who says so. Default: your account's name.")]


def author(name: str | None, doing: str) -> str:
    """Who says something: the one named, or whoever is logged in. Raises UsageError where nobody is."""
    if name is None:
        try:
            name = os.environ.get("USER") or getpass.getuser()
        except (KeyError, OSError):  # an account without a name, as in a container
            name = ""
    if not name:
        raise UsageError(f"{doing}: nobody says so; name yourself with --author")
    return name


def output(name: str) -> str:
    """The form of output asked for. Raises UsageError for one that there is not."""
    if name in ("tree", "json"):
        return name
    raise UsageError(f"--output {name}: there is no such form; use tree (for people) or json (for machines)")
