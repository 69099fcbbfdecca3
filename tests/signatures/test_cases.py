"""Every signature's cases, in order, shuffled, cut at every record and restarted; and what a signature must come with."""

from functools import cache
from pathlib import Path

import pytest

from pipeline import parsers
from pipeline.runtime import cases
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet

FOLDERS = sorted(path.parent for path in load.packaged().rglob("rule.yaml"))


@cache
def ruleset() -> RuleSet:
    """The packaged rules."""
    return load.load(parsers.vocabulary())


IN_ORDER, *OTHERS = cases.WAYS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [IN_ORDER, *(pytest.param(way, marks=pytest.mark.slow) for way in OTHERS)])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_case_is_as_expected(folder: Path, way: str) -> None:
    """Each case shows exactly the incidents it names, however its records are cut, shuffled or interrupted."""
    found = list(cases.run(cases.read(folder / "cases.yaml"), folder.name, ruleset(), ways=[way]))
    wrong = [f"{r.case} ({r.way}): {failure}" for r in found for failure in r.failures]
    assert found
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_signature_has_cases_of_every_kind(folder: Path) -> None:
    """A signature comes with a case in which it fires and one in which it does not."""
    outcomes = [
        {incident["signature"] for expected in case.get("expect") or [] for incident in expected.get("incidents") or []}
        for case in cases.read(folder / "cases.yaml")
    ]
    symptoms = [
        {s for e in case.get("expect") or [] for i in e.get("incidents") or [] for s in i.get("symptoms") or []}
        for case in cases.read(folder / "cases.yaml")
    ]
    assert any(folder.name in found | below for found, below in zip(outcomes, symptoms, strict=True)), "no case in which it fires"
    assert any(folder.name not in found | below for found, below in zip(outcomes, symptoms, strict=True)), (
        "no case in which it does not"
    )
