"""Signatures on the terminal: problems, cases."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from pipeline import parsers
from pipeline.cli import paths
from pipeline.errors import UsageError, nearest
from pipeline.runtime import cases
from pipeline.runtime import mutate as mutation
from pipeline.signatures import load
from pipeline.signatures.models import Document


def check(folders: Sequence[Path] | None) -> int:
    """Print every problem; 1 when there are errors."""
    files = load.files(paths.rules(folders) or [load.packaged()])
    ruleset, problems = load.build(files, parsers.vocabulary())
    for problem in problems:
        print(problem)
    errors = sum(not problem.warning for problem in problems)
    found = f"{len(ruleset.signatures)} signatures" if ruleset else f"{len(files)} files"
    print(f"{found}: {errors} errors, {len(problems) - errors} warnings", file=sys.stderr)
    return 1 if errors else 0


def _roots(where: Sequence[Path] | None) -> list[Path]:
    """Folders with signatures, also told by the name of a packaged one. Raises UsageError for what is neither."""
    packaged = {found.parent.name: found.parent for found in load.packaged().rglob(load.RULE_FILE)}
    for path in where or ():
        if not path.exists() and len(path.parts) == 1 and path.name not in packaged and not paths.hint(path):
            near = nearest(path.name, packaged) or "`headwater rules list` names them"
            raise UsageError(f"testing {path}: there is neither a folder nor a packaged signature of that name; {near}")
    return paths.rules([path if path.exists() else packaged.get(str(path), path) for path in where or ()]) or [load.packaged()]


def _whole(roots: Sequence[Path]) -> list[Path]:
    """What to load with them: a packaged signature stands on rules of others."""
    packaged = load.packaged().resolve()
    return list(dict.fromkeys(packaged if root.resolve().is_relative_to(packaged) else root for root in roots))


def test(folders: Sequence[Path] | None, rules: list[Path] | None, run: str | None) -> int:
    """Run cases; 1 when any is not as expected."""
    roots = _roots(folders)
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules) or _whole(roots))
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


def mutate(folders: Sequence[Path] | None, run: str | None) -> int:
    """Print the mutants that no case notices; 1 when there are any."""
    roots = _roots(folders)
    files = load.files(_whole(roots))
    survived = tried = 0
    for path in sorted(file for root in roots for file in root.rglob(load.RULE_FILE)):
        if run and run not in path.parent.name:
            continue
        for mutant in mutation.run(path.parent, files, parsers.vocabulary()):
            tried, survived = tried + 1, survived + (not mutant.noticed)
            if not mutant.noticed:
                print(f"{path}:{mutant.line}: no case notices {mutant.change}", flush=True)
    print(f"{tried} mutants, {survived} survived")
    return 1 if survived else 0


def list_all(rules: list[Path] | None, layer: str | None, output: str) -> None:
    """One line a signature."""
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules))
    layers = sorted({found.signature.layer for found in ruleset.signatures.values()})
    if layer is not None and layer not in layers:
        hint = nearest(layer, layers) or f"there are {', '.join(layers)}"
        raise UsageError(f"--layer {layer}: no signature has it; {hint}")
    chosen = [f for f in ruleset.signatures.values() if layer in (None, f.signature.layer)]
    if output == "json":
        for found in chosen:
            signature = found.signature
            print(
                json.dumps(
                    {
                        "signature": found.slug,
                        "layer": signature.layer,
                        "title": signature.title,
                        "level": signature.level,
                        "status": signature.status,
                        "version": signature.version,
                    }
                )
            )
        return
    widest = max((len(found.slug) for found in chosen), default=0)
    for found in sorted(chosen, key=lambda f: (f.signature.layer, f.slug)):
        print(f"{found.signature.layer:<13} {found.slug:<{widest}}  {found.signature.title}")


def show(name: str, rules: list[Path] | None) -> None:
    """Everything a person may want to know of a signature."""
    ruleset = load.load(parsers.vocabulary(), paths.rules(rules))
    found = ruleset.signatures.get(name)
    if found is None:
        hint = nearest(name, ruleset.signatures) or "`headwater rules list` names them all"
        raise UsageError(f"there is no signature '{name}'; {hint}")
    signature = found.signature
    print(f"{found.slug} (layer {signature.layer}, level {signature.level}, {signature.status}, version {signature.version})")
    print(signature.title)
    for label, text in (("What", signature.what), ("Cause", signature.cause), ("Impact", signature.impact)):
        print(f"\n{label}: {text}")
    rule = ruleset.rules.get(found.rule)
    evidence = [ruleset.detections[d].title for d in (rule.detections if rule else (found.rule,)) if d in ruleset.detections]
    explained = sorted({name for entry in signature.explains for name in entry.rules})
    explains_it = sorted(
        s for s, other in ruleset.signatures.items() if any(found.slug in e.rules for e in other.signature.explains)
    )
    sections = (
        ("Evidence", evidence), ("Explains", explained), ("Explained by", explains_it), ("First aid", signature.first_aid),
        ("Fix", signature.fix), ("False positives", signature.false_positives), ("References", signature.references),
    )  # fmt: skip
    for label, lines in sections:
        if lines:
            print(f"\n{label}:")
            print("\n".join(f"  {line}" for line in lines))


def schema() -> None:
    """The JSON Schema of one document of a rule file."""
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def json_schema() -> dict[str, object]:
    """Generated from the models that validate."""
    adapter: TypeAdapter[object] = TypeAdapter(Document)
    made = adapter.json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Headwater rule", **made}
