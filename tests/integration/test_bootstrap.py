"""`.ci/bootstrap.py` finds pip where there is neither pip nor ensurepip: from a package index of either page form."""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.integration

WHEEL = b"not really a wheel"
NAME = "pip-99.1-py3-none-any.whl"
HTML = f'<html><body><a href="../files/pip-99.0-py3-none-any.whl#sha256=00">old</a><a href="../files/{NAME}#sha256=11">new</a>'
JSON = json.dumps({"files": [{"filename": NAME, "url": f"/files/{NAME}"}]})
LOGIN = "Basic dXNlcjpwQHNz"
"""What a client sends for the user `user` with the password `p@ss`."""


class Index(BaseHTTPRequestHandler):
    """A package index that knows one project, and perhaps only answers those who log in."""

    pages: dict[str, tuple[str, bytes]]
    login: str | None = None

    def do_GET(self) -> None:
        """Answer with the page, 401 or 404."""
        known = self.pages.get(self.path)
        status = 404 if known is None else 401 if self.login not in {None, self.headers["Authorization"]} else 200
        self.send_response(status)
        media_type, body = known if known and status == 200 else ("text/plain", b"")
        self.send_header("Content-Type", media_type)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def bootstrap(root: Path) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("bootstrap", root / ".ci" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(request: pytest.FixtureRequest) -> Iterator[tuple[str, type[Index]]]:
    """The address of a running index and its handler; the parameter is the media type and text of the project's page."""
    media_type, page = getattr(request, "param", ("application/vnd.pypi.simple.v1+json", JSON))
    pages = {"/simple/pip/": (media_type, page.encode()), f"/files/{NAME}": ("application/zip", WHEEL)}
    pages[f"/simple/files/{NAME}"] = pages[f"/files/{NAME}"]
    handler = type("Handler", (Index,), {"pages": pages})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}/simple/", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file that knows the wheel."""
    path = tmp_path / "some.lock"
    sums = [hashlib.sha256(content).hexdigest() for content in (b"another file", WHEEL)]
    path.write_text("pip==99.1 \\\n    --hash=sha256:" + " \\\n    --hash=sha256:".join(sums) + "\npipx==1\n")
    return path


@pytest.mark.parametrize("index", [("application/vnd.pypi.simple.v1+json", JSON), ("text/html", HTML)], indirect=True)
def test_the_locked_pip_is_taken_from_the_configured_index(
    bootstrap: ModuleType, index: tuple[str, type[Index]], lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page may be JSON or HTML, its links relative; the file's hash decides."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{index[0]}")
    assert bootstrap.downloaded_wheel(lock, tmp_path) == tmp_path / NAME
    assert (tmp_path / NAME).read_bytes() == WHEEL


def test_a_login_in_the_address_is_sent(
    bootstrap: ModuleType, index: tuple[str, type[Index]], lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private indexes are configured so; without the login the reason is told, and the password is not."""
    address, handler = index
    handler.login = LOGIN
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:p%40ss@{address}")
    assert bootstrap.downloaded_wheel(lock, tmp_path).read_bytes() == WHEEL
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:wrong@{address}")
    with pytest.raises(bootstrap.NoPipError, match="401") as raised:
        bootstrap.downloaded_wheel(lock, tmp_path)
    assert "wrong" not in str(raised.value)


def test_another_file_is_refused(
    bootstrap: ModuleType, index: tuple[str, type[Index]], lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel whose hash the lock does not state is not even written."""
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{index[0]}")
    lock.write_text(lock.read_text().replace(hashlib.sha256(WHEEL).hexdigest(), "0" * 64))
    with pytest.raises(bootstrap.NoPipError, match="hash"):
        bootstrap.downloaded_wheel(lock, tmp_path)
    assert not (tmp_path / NAME).exists()


def test_the_index_is_the_one_that_pip_would_use(bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over PIP_CONFIG_FILE, that over the user's file."""
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = http://user.invalid/%61\n")
    assert bootstrap.configured_index() == "http://user.invalid/%61"
    (tmp_path / "named.conf").write_text("[install]\nindex-url = http://named.invalid/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "named.conf"))
    assert bootstrap.configured_index() == "http://named.invalid/"
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment.invalid/")
    assert bootstrap.configured_index() == "http://environment.invalid/"
