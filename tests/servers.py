"""Programs that tests start, and how a test says that one is missing."""

import os
import shutil

import pytest


def require(program: str, package: str) -> str:
    """The path of a program. Where it is missing the test is skipped with the command that installs it; in CI it fails."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        said = f"{program} is missing: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return found
