"""Make a virtual environment and install a lock file into it, on a system that may have neither pip nor ensurepip.

Usage: python3 .ci/bootstrap.py FOLDER LOCK

Only the standard library is used. pip is taken from the first place that has it: a wheel that Python or the
distribution keeps on disk; the pip of this interpreter; the package index that pip's own settings name (there the
version and the hashes that the lock states); Debian's archive. No index is named here: pip knows its default, and
where there is no pip, the settings or the distribution's package lists say where to ask.
"""

import base64
import configparser
import hashlib
import html.parser
import importlib.util
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

DISTRIBUTION_WHEELS = Path("/usr/share/python-wheels")
SIMPLE_PAGE = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
OLDEST = (22, 3)
"""The first pip with `--python`; it knows `--require-hashes` and today's metadata as well."""


OPTIONS = ("--quiet", "--require-hashes", "--only-binary=:all:", "--disable-pip-version-check")
"""Wheels only: nothing foreign runs while it is installed, and no compiler is needed."""


class NoPipError(Exception):
    """This place has no pip; the text says why."""


def bundled_wheel() -> Path:
    """The newest pip wheel that ensurepip or the distribution keeps on disk."""
    folders = [DISTRIBUTION_WHEELS]
    spec = importlib.util.find_spec("ensurepip")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "_bundled")
    wheels = [wheel for folder in folders for wheel in folder.glob("pip-*-py*.whl") if _version(wheel.name) >= OLDEST]
    if not wheels:
        raise NoPipError("Python has no ensurepip, and the distribution keeps no pip wheel")
    return max(wheels, key=lambda wheel: _version(wheel.name))


def _version(name: str) -> tuple[int, ...]:
    found = re.search(r"(\d+(?:\.\d+)*)", name)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def own_pip() -> list[str]:
    """The command of this interpreter's pip."""
    command = [sys.executable, "-m", "pip"]
    asked = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    if asked.returncode != 0 or _version(asked.stdout) < OLDEST:
        raise NoPipError("this Python has no pip, or one that is too old")
    return command


def locked_pip(lock: Path) -> tuple[str, set[str]]:
    """The version of pip in a lock file and the SHA-256 sums of its files."""
    entry = re.search(r"^pip==(\S+)((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)", lock.read_text(), re.MULTILINE)
    if entry is None:
        raise NoPipError(f"{lock} does not lock pip")
    return entry[1], set(re.findall(r"sha256:([0-9a-f]{64})", entry[2]))


def configured_index() -> str | None:
    """The index that PIP_INDEX_URL or the last of pip's configuration files names."""
    found = None
    for path in _configuration_files():
        settings = configparser.RawConfigParser()
        settings.read(path, encoding="utf-8")
        for section in ("global", "install"):
            found = settings.get(section, "index-url", fallback=found)
    return os.environ.get("PIP_INDEX_URL") or found


def _configuration_files() -> Iterator[Path]:
    home = Path.home()
    for folder in reversed(os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder) / "pip/pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip/pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip/pip.conf"
    if named := os.environ.get("PIP_CONFIG_FILE"):
        yield Path(named)


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _fetch(url: str) -> tuple[bytes, str]:
    """Body and media type of a page; a user name and password in the address are sent as pip sends them."""
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    parts = urllib.parse.urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"Accept": SIMPLE_PAGE})
    if login:
        secret = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.read(), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def downloaded_wheel(lock: Path, folder: Path) -> Path:
    """The locked pip from the configured index, by its JSON or HTML page; refused unless the lock states its hash."""
    version, hashes = locked_pip(lock)
    index = configured_index()
    if index is None:
        raise NoPipError("neither PIP_INDEX_URL nor a pip.conf names a package index")
    name = f"pip-{version}-py3-none-any.whl"
    try:
        page = f"{index.rstrip('/')}/pip/"
        body, media_type = _fetch(page)
        # Joined with the page as asked for and not as redirected: only so does an own address keep its login.
        files = [url for link in _links(body, media_type) if _file_name(url := urllib.parse.urljoin(page, link)) == name]
        content = _fetch(files[0])[0] if files else b""
    except (OSError, ValueError) as error:
        raise NoPipError(f"asked the configured package index for {name}: {error}") from error
    if hashlib.sha256(content).hexdigest() not in hashes:
        raise NoPipError(f"the configured package index has no {name} with the hash in {lock}")
    wheel = folder / name
    wheel.write_bytes(content)
    return wheel


def _file_name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])


def _links(body: bytes, media_type: str) -> list[str]:
    if media_type.endswith("+json"):
        return [file["url"] for file in json.loads(body)["files"]]
    page = _Links()
    page.feed(body.decode("utf-8", "replace"))
    return page.found


def debian_wheel(folder: Path) -> Path:
    """pip from Debian's archive, as any user: apt checks its signature, and dpkg unpacks it without installing it."""
    root = folder / "debian"
    for part in ("lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True)
    apt = ["apt-get", "-qq", f"-oDir::State::Lists={root}/lists", f"-oDir::Cache={root}/cache"]
    # The update may fail for a source that has nothing to do with pip: what counts is whether the package is found.
    said = [_run([*apt, *words], root) for words in (["update"], ["download", "python3-pip-whl"])]
    package = next(root.glob("*.deb"), None)
    if package is None:
        raise NoPipError(f"apt-get did not fetch python3-pip-whl: {' / '.join(said)}")
    _run(["dpkg-deb", "--extract", str(package), str(root)], root)
    return next((root / DISTRIBUTION_WHEELS.relative_to("/")).glob("pip-*.whl"))


def _run(command: list[str], folder: Path) -> str:
    """What a command complained of."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr.strip()
    except OSError as error:
        raise NoPipError(f"there is no {command[0]}") from error


def find_pip(environment: Path, lock: Path, folder: Path) -> list[str]:
    """A command that installs into `environment`; `folder` takes what has to be fetched."""
    python = str(environment / "bin/python")
    sources: list[Callable[[], list[str]]] = [
        lambda: [python, f"{bundled_wheel()}/pip"],
        lambda: [*own_pip(), "--python", python],
        lambda: [python, f"{downloaded_wheel(lock, folder)}/pip"],
        lambda: [python, f"{debian_wheel(folder)}/pip"],
    ]
    reasons = []
    for source in sources:
        try:
            return source()
        except NoPipError as error:
            reasons.append(str(error))
    raise NoPipError("\n".join(f"  - {reason}" for reason in reasons))


def main(environment: Path, lock: Path) -> int:
    """Make the environment anew and fill it."""
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(environment)
    with tempfile.TemporaryDirectory() as folder:
        try:
            pip = find_pip(environment, lock, Path(folder))
        except NoPipError as error:
            print(
                f"bootstrap: no pip found to install {lock} with:\n{error}\n"
                "Install pip (Debian: python3-venv), or name a package index: export PIP_INDEX_URL=...",
                file=sys.stderr,
            )
            return 1
        print(f"Installing {lock} into {environment} ...", flush=True)
        return subprocess.run([*pip, "install", *OPTIONS, "--requirement", str(lock)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
