"""The JSON Schema that editors read."""

import json
from pathlib import Path

from pipeline.cli.show_rules import json_schema


def test_the_schema_that_is_checked_in_is_that_of_the_models(root: Path) -> None:
    """`headwater rules schema > rules/schema.json` was run after the last change of the language."""
    assert json.loads((root / "rules" / "schema.json").read_text(encoding="utf-8")) == json_schema()
