"""Recorded outages: the right answer, and the same answer however the recording is cut, shuffled or interrupted."""

from functools import cache
from pathlib import Path

import pytest

from pipeline import parsers
from pipeline.model.incident import Incident
from pipeline.runtime import check, replay
from pipeline.runtime.replay import Options
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet


@cache
def ruleset() -> RuleSet:
    """The packaged rules."""
    return load.load(parsers.vocabulary())


@cache
def whole(capture: Path) -> list[Incident]:
    """The incidents of a capture replayed in whole blocks."""
    return replay.run(capture, ruleset()).incidents


def test_the_answer_is_right(capture: Path) -> None:
    """The roots are those of expect.yaml and no others; healthy recordings are silent."""
    wrong = check.differences(whole(capture), check.expectation(capture))
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "options",
    [Options(batch_rows=1000), Options(batch_rows=7919), Options(shuffle=7), Options(restart_every=2503)],
    ids=["batches of 1000", "batches of 7919", "shuffled", "restarted"],
)
def test_cutting_and_order_change_nothing(capture: Path, options: Options) -> None:
    """Small batches, a shuffle within the lateness, and restarts give equal incidents and evidence."""
    assert replay.run(capture, ruleset(), options=options).incidents == whole(capture)
