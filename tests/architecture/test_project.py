"""Facts that stand in two places agree, and the locks say what they must."""

import re
import tomllib
from pathlib import Path

import pytest

from pipeline._version import __version__

LOCKS = ["requirements.lock", "requirements-dev.lock"]


def test_the_changelog_knows_the_version(root: Path) -> None:
    """The first numbered section of the changelog is this version."""
    sections = re.findall(r"^## \[(\d[^\]]*)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[:1] == [__version__]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_of_versions_and_hashes_only(root: Path, lock: str) -> None:
    """Every entry is exact and hashed; no address and no path of whoever locked got in."""
    text = (root / lock).read_text(encoding="utf-8")
    entries = re.sub(r"\s*\\\n\s+", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    entry = re.compile(r"[a-z0-9.-]+==[0-9][^ ]*( ; [^/]+?)?( --hash=sha256:[0-9a-f]{64})+")
    assert entries
    assert not [line for line in entries if not entry.fullmatch(line)]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_every_dependency(root: Path, lock: str) -> None:
    """A dependency that was added to pyproject.toml was locked as well."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + (project["dependency-groups"]["dev"] if "dev" in lock else [])
    names = {re.sub(r"[._]", "-", re.split(r"[\[<>=!~ ;]", requirement)[0].lower()) for requirement in wanted}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (root / lock).read_text(encoding="utf-8"), re.MULTILINE))
    assert not names - locked


def test_the_locks_agree(root: Path) -> None:
    """What is tested is what is shipped: the development lock holds the other, version by version."""
    runtime, dev = (set(re.findall(r"^\S+==\S+", (root / lock).read_text(), re.MULTILINE)) for lock in LOCKS)
    assert runtime <= dev
