"""What tests of the running service share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.receiver import Receiver
from tests.integration.living import Lab

Laboratory = Callable[..., Lab]


@pytest.fixture
def laboratory(tmp_path: Path, receiver: Receiver) -> Iterator[Laboratory]:
    """Makes labs whose service ends with the test."""
    made: list[Lab] = []

    def make(name: str = "policy-dns-egress-forgotten", **more: Any) -> Lab:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Lab.of(name, folder, receiver, **more))
        return made[-1]

    yield make
    for lab in made:
        lab.service.close()
