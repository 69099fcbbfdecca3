"""What a scan found, on the terminal or as JSON."""

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from pipeline import parsers
from pipeline.cli import paths, show, tree
from pipeline.model import public as form
from pipeline.runtime import scan as scanning
from pipeline.runtime import sites
from pipeline.signatures import load, templates


def scan(names: list[str], rules: list[Path] | None, *, output: str, verbose: bool, config: Path | None = None) -> None:
    """Scan and print."""
    site = sites.read(config)
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules) or site.rules)
    found = scanning.run(paths.files(names), ruleset, now=datetime.now(UTC), names=site.names)
    if output == "json":
        print(json.dumps(_as_dict(found), ensure_ascii=False))
    else:
        _print(found)
    show.troubles(found.troubles, found.counts, verbose=verbose)


def _as_dict(found: scanning.Scan) -> dict[str, object]:
    return {
        "lines": found.lines,
        "formats": found.formats,
        "evidence": [
            {
                "signature": seen.signature.slug,
                "title": seen.signature.signature.title,
                "rows": dict(seen.counts),
                "look_for": list(seen.missing),
                "first_aid": [templates.render(text, {}) for text in seen.signature.signature.first_aid],
            }
            for seen in found.seen
        ],
        "incidents": [form.as_dict(incident) for incident in found.incidents],
    }


def _print(found: scanning.Scan) -> None:
    out = tree.console()
    real = [incident for incident in found.incidents if incident.status != "near_miss"]
    if not found.seen:
        out.print(f"{found.lines:,} lines: no signature knows any of them as evidence.")
        return
    if real:
        tree.show([form.as_dict(incident) for incident in found.incidents], out)
        out.print()
    out.print(Text(f"{found.lines:,} lines are evidence of", style="bold"))
    shown = {incident.signature for incident in real}
    for seen in found.seen:
        rows = sum(seen.counts.values())
        state = "enough" if seen.signature.slug in shown else "not enough by itself"
        signature = seen.signature.signature
        out.print(Text.assemble("  ", (seen.signature.slug, "cyan"), f"  {rows} rows, {state}: ", signature.title))
        for title in seen.missing[:3]:
            out.print(Text.assemble("      to be sure, look for: ", title))
        if seen.signature.slug not in shown:
            out.print(Text.assemble("      first aid: ", (templates.render(signature.first_aid[0], {}), "green")))
