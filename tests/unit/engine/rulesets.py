"""Rule sets for tests, from text."""

from collections.abc import Mapping
from pathlib import Path

from pipeline import parsers
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet


def compiled(folder: Path, texts: Mapping[str, str]) -> RuleSet:
    """The rule set of signatures by `layer/slug`, written below `folder`."""
    for name, text in texts.items():
        place = folder / name
        place.mkdir(parents=True)
        (place / "rule.yaml").write_text(text)
    found, problems = load.build(load.files([folder]), parsers.vocabulary())
    assert found is not None, problems
    return found
