"""Signatures on the terminal: problems, cases."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import parsers
from pipeline.runtime import cases
from pipeline.signatures import load


def check(folders: Sequence[Path] | None) -> int:
    """Print every problem; 1 when there are errors."""
    paths = load.files(list(folders or [load.packaged()]))
    ruleset, problems = load.build(paths, parsers.vocabulary())
    for problem in problems:
        print(problem)
    errors = sum(not problem.warning for problem in problems)
    found = f"{len(ruleset.signatures)} signatures" if ruleset else f"{len(paths)} files"
    print(f"{found}: {errors} errors, {len(problems) - errors} warnings", file=sys.stderr)
    return 1 if errors else 0


def test(folders: Sequence[Path] | None, rules: list[Path] | None, run: str | None) -> int:
    """Run cases; 1 when any is not as expected."""
    roots = list(folders or [load.packaged()])
    ruleset = load.load(parsers.vocabulary(), rules or ([load.packaged()] if folders is None else roots))
    passed = failed = 0
    for path in sorted(file for root in roots for file in root.rglob("cases.yaml")):
        slug = path.parent.name
        if run and run not in slug:
            continue
        for result in cases.run(cases.read(path), slug, ruleset):
            passed, failed = passed + (not result.failures), failed + bool(result.failures)
            for failure in result.failures:
                print(f"{result.signature}: {result.case} ({result.way}): {failure}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
