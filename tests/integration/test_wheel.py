"""The built wheel works where the source is not: all that the program needs is inside."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NOT_SOURCE = (".git", ".venv", ".hypothesis", "__pycache__", ".*_cache", "build", "dist")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment that knows nothing of this checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "VIRTUAL"))}
    ended = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    out, err = ended.stdout.decode(), ended.stderr.decode()
    assert ended.returncode == 0, f"{command}\n{out}\n{err}"
    return subprocess.CompletedProcess(command, 0, out, err)


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, and that from a copy of the tree that is gone afterwards."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(root, source, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source, cwd=folder)
    shutil.rmtree(source)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment with the locked dependencies and the wheel, and nothing else."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    venv.EnvBuilder(symlinks=True, with_pip=False).create(environment)
    scripts = environment / "bin"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    run(*pip, "--require-hashes", "--only-binary=:all:", "-r", root / "requirements.lock", cwd=environment)
    run(*pip, "--no-deps", "--no-index", wheel, cwd=environment)
    return scripts


def test_the_wheel_holds_the_rules_and_the_licence_and_no_tests(root: Path, wheel: Path) -> None:
    """`rules/` becomes `pipeline/_rules/`, file by file, and the licence is there."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "pipeline/_demo/capture.yaml" in names
    rules = {f"pipeline/_rules/{path.relative_to(root / 'rules')}" for path in (root / "rules").rglob("*.yaml")}
    assert not rules - names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"pipeline", "connectors"}


def test_every_module_imports(installed: Path, tmp_path: Path) -> None:
    """No module needs what only a checkout or a development environment has."""
    script = (
        "import importlib, pkgutil, pipeline, connectors\n"
        "for package in (pipeline, connectors):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            importlib.import_module(module.name)\n"
        "print(pipeline.__file__)"
    )
    printed = run(installed / "python", "-I", "-W", "error", "-c", script, cwd=tmp_path)
    assert Path(printed.stdout.strip()).is_relative_to(installed.parent)


def test_the_command_answers(installed: Path, tmp_path: Path) -> None:
    """`headwater --help`, from an empty folder."""
    assert "replay" in run(installed / "headwater", "--help", cwd=tmp_path).stdout


def test_the_demo_finds_the_cause(installed: Path, tmp_path: Path) -> None:
    """The packaged recording replays with the packaged rules: one root, and its symptoms below it."""
    printed = run(installed / "headwater", "demo", cwd=tmp_path).stdout
    assert "Connection tracking table full on node-b" in printed
    assert "ingress-upstream-connect-timeout" in printed
