"""What all tests share: the repository's root, recorded captures, and how long hypothesis searches.

A test with the argument `capture` runs once for every recording: those in `tests/captures`, and those in the folder
that the environment variable HEADWATER_CAPTURES names (CI sets it).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.components.receiver import Receiver, running

ROOT = Path(__file__).resolve().parent.parent

# Data frames take a while to build, and all the longer on a busy machine: a deadline would fail by chance.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("full", deadline=None, max_examples=100, print_blob=True)
hypothesis.settings.load_profile("full" if os.environ.get("CI") else "quick")


def captures() -> list[Path]:
    """The folders of all recordings, by name."""
    parents = [ROOT / "tests" / "captures"]
    if named := os.environ.get("HEADWATER_CAPTURES"):
        parents.append(Path(named).resolve(strict=True))
    return sorted({folder.name: folder for parent in parents for folder in parent.glob("*/")}.values())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each recording to the tests that ask for one."""
    if "capture" in metafunc.fixturenames:
        metafunc.parametrize("capture", captures(), ids=lambda folder: folder.name)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A local server that plays Slack and the like; it is asked directly, whatever proxy this machine has."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as server:
        yield server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long searches to CI, or to whoever asks for them by their mark."""
    if os.environ.get("CI") or "slow" in config.getoption("markexpr"):
        return
    long = pytest.mark.skip(reason="long; runs where CI=true, or with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(long)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT
