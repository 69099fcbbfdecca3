"""What goes wrong is said once, then counted."""

import pytest
from structlog.testing import capture_logs

from pipeline.runtime.troubles import FEW, Troubles


def test_the_same_is_said_once_and_counted() -> None:
    """Until it is another thing, or it went well in between."""
    troubles = Troubles()
    with capture_logs() as said:
        for _ in range(5):
            troubles.note("store", "failed", "locked")
        troubles.note("store", "failed", "disk full")
        troubles.mended("store", "failed", "the store works again")
        troubles.mended("store", "failed", "the store works again")
        troubles.note("store", "failed", "disk full")
    assert [entry["event"] for entry in said] == ["locked", "disk full", "the store works again", "disk full"]
    assert troubles.counts["store", "failed"] == 7
    assert troubles.last["store", "failed"] == "disk full"


@pytest.mark.parametrize("number", [FEW, 10 * FEW])
def test_of_many_subjects_a_few_are_said(number: int) -> None:
    """Ten thousand unreadable files are not ten thousand lines; amounts count bytes or records."""
    troubles = Troubles()
    with capture_logs() as said:
        for file in range(number):
            troubles.note("files", "gap", f"file {file} is gone", subject=str(file), amount=3)
    assert len(said) == min(number, FEW + 1)
    assert troubles.counts["files", "gap"] == 3 * number
