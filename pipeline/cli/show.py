"""Replays on the terminal: as JSON lines, or as the tree of causes."""

import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from pipeline import parsers
from pipeline.cli import paths
from pipeline.errors import CaptureError
from pipeline.model import public as form
from pipeline.runtime import check as checking
from pipeline.runtime import replay as replaying
from pipeline.runtime import sites
from pipeline.signatures import load


def replay(
    capture: Path, rules: list[Path] | None, options: replaying.Options, output: str, config: Path | None = None
) -> replaying.Replay:
    """Replay, with a progress bar where a person waits."""
    site = sites.read(config)
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules) or site.rules)
    paths.capture(capture)
    if output == "json" or not sys.stderr.isatty():
        return replaying.run(capture, ruleset, options=options, names=site.names)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from pipeline.cli import tree

    size = sum(path.stat().st_size for path in capture.rglob("*") if path.is_file()) if capture.is_dir() else 0
    bar = Progress(TextColumn("reading"), BarColumn(), DownloadColumn(), console=tree.console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("reading", total=size)
        return replaying.run(capture, ruleset, options=options, names=site.names, progress=lambda taken: bar.advance(task, taken))


def demo() -> None:
    """The packaged capture."""
    folder = demo_capture()
    found = replay(folder, None, replaying.Options(), "tree")
    incidents(found, output="tree", near_misses=False)
    print(f"\nThis was a recording: {found.title}. Replay your own: headwater replay FOLDER; or try: headwater scan FILE")


def demo_capture() -> Path:
    """The capture that comes with Headwater: inside the wheel, or in the source tree."""
    package = Path(str(resources.files("pipeline")))
    inside = package / "_demo"
    return inside if inside.is_dir() else package.parent / "tests" / "captures" / "conntrack-table-full"


def incidents(found: replaying.Replay, *, output: str, near_misses: bool) -> None:
    """Print incidents: one JSON object a line, or the tree."""
    if output == "json":
        for incident in found.incidents:
            if incident.status != "near_miss" or near_misses:
                print(form.as_json(incident))
        return
    from pipeline.cli import tree

    out = tree.console()
    forms = [form.as_dict(incident) for incident in found.incidents]
    if any(incident.status != "near_miss" for incident in found.incidents):
        tree.show(forms, out, near_misses=near_misses)
        return
    near = sum(incident.status == "near_miss" for incident in found.incidents)
    out.print(f"Nothing to report: {found.lines:,} lines of {found.title!r} read, no signature's evidence was complete.")
    if near_misses:
        tree.show(forms, out, near_misses=True)
    elif near:
        out.print(f"{near} came near; --near-misses shows them.")


def troubles(lines: Sequence[str], counts: Mapping[tuple[str, str], int], *, verbose: bool) -> None:
    """What could not be used of the input: one line, or all of them and what was read by format."""
    if verbose:
        print("\n".join([*lines, *_by_format(counts)]), file=sys.stderr)
    elif lines:
        print(f"{len(lines)} kinds of input could not be used; --verbose lists them", file=sys.stderr)


def _by_format(counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Lines read, and of those that a rule may want, how many were understood."""
    read = [f"{label}: {number:,} lines read" for (metric, label), number in sorted(counts.items()) if metric == "lines"]
    names = sorted({label for metric, label in counts if metric in ("rows", "plain")})
    wanted = {name: (counts.get(("rows", name), 0), counts.get(("plain", name), 0)) for name in names}
    return read + [
        f"{name}: of the lines that a rule may want, {understood:,} understood and {plain:,} kept as plain text"
        for name, (understood, plain) in wanted.items()
    ]


def check(captures: Sequence[Path], rules: list[Path] | None) -> int:
    """Print what differs from the truth; 1 when anything does."""
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules))
    wrong = 0
    for path in captures:
        try:
            expect = checking.expectation(paths.capture(path))
            found = checking.differences(replaying.run(path, ruleset).incidents, expect)
        except CaptureError as error:
            found = [str(error)]
        wrong += bool(found)
        print(f"{'wrong' if found else 'right'}  {path.name}")
        for line in found:
            print(f"       {line}")
    return 1 if wrong else 0
