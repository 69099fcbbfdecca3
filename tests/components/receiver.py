"""A local HTTP server that plays Slack, a webhook's receiver, Alertmanager and PagerDuty, and misbehaves on demand.

What it is asked is kept in `requests`. It answers like the system that the path belongs to, unless `script` has something else for
the next request: a `Reply`, or one of the ways to be cut off.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SLACK = "/api/"
HOOK = "/services/T0/B0/hooksecret"
ALERTS = "/api/v2/alerts"
SILENCES = "/api/v2/silences"


@dataclass(frozen=True)
class Reply:
    """An answer instead of the system's own; `taken`: the request has its effect all the same, `echo`: it quotes the request."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: bool = False
    echo: bool = False


class Cut(Enum):
    """Ways in which no answer comes."""

    HANG = "the request is read and nothing said"
    DRIP = "the answer comes letter by letter, for ever"
    DROP = "the connection is closed"
    TAKEN = "the request has its effect, then the connection is closed"


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Slack:
    """Channels with their messages, as far as a bot sees them."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.page = 200

    def call(self, request: Request) -> dict[str, Any]:
        """One method of the Web API."""
        method = request.path.removeprefix(SLACK)
        if request.method == "GET":
            return self._listed(method, dict(parse_qsl(urlsplit(request.target).query)))
        said = request.json
        if method == "chat.update":
            if said["ts"] not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            self.messages[said["ts"]].update(
                {key: said[key] for key in ("text", "blocks", "metadata") if key in said}, edited=True
            )
            return {"ok": True, "ts": said["ts"], "channel": said["channel"]}
        ts = f"1795408848.{len(self.messages):06d}"
        self.messages[ts] = said | {"ts": ts}
        return {"ok": True, "ts": ts, "channel": said["channel"]}

    def top(self) -> list[dict[str, Any]]:
        """The messages that stand in the channel itself."""
        return [post for post in self.messages.values() if "thread_ts" not in post]

    def thread(self, ts: str) -> list[dict[str, Any]]:
        """The replies to a message."""
        return [post for post in self.messages.values() if post.get("thread_ts") == ts]

    def _listed(self, method: str, query: dict[str, str]) -> dict[str, Any]:
        if method == "conversations.replies":
            found = [self.messages[query["ts"]], *self.thread(query["ts"])]
        else:
            found = [post for post in reversed(self.top()) if float(post["ts"]) >= float(query["oldest"])]
        assert query["include_all_metadata"] == "true"
        at = int(query.get("cursor", 0))
        more = str(at + self.page) if at + self.page < len(found) else ""
        return {"ok": True, "messages": found[at : at + self.page], "response_metadata": {"next_cursor": more}}


class Receiver:
    """The server; `url` is where it listens."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.script: list[Reply | Cut | None] = []
        self.silences: list[dict[str, Any]] = []
        self.slack = Slack()
        self.released = threading.Event()
        self._server = Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Let go of whoever hangs, and stop."""
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: Request) -> Reply:
        """What the system that the path belongs to says."""
        self.taken.append(request)
        if request.path in (HOOK, ALERTS):
            return Reply(200, b"ok" if request.path == HOOK else b"")
        if request.path == SILENCES:
            return Reply(200, json.dumps(self.silences).encode())
        if request.path.startswith(SLACK):
            return Reply(200, json.dumps(self.slack.call(request)).encode())
        return Reply(202, b'{"status":"success"}')


@contextmanager
def running() -> Iterator[Receiver]:
    """A receiver that is stopped at the end."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


class Handler(BaseHTTPRequestHandler):
    """One request: the script's way, or the system's own."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, dict(self.headers), body)
        receiver.requests.append(request)
        scripted = receiver.script.pop(0) if receiver.script else None
        if isinstance(scripted, Cut):
            self._cut(scripted, request)
            return
        answer = receiver.answer(request) if scripted is None or scripted.taken else Reply()
        reply = scripted or answer
        quoted = f"{request.target} {request.headers.get('Authorization')} ".encode() + body[-80:] if reply.echo else b""
        self._say(replace(reply, body=quoted or reply.body))

    def _say(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _cut(self, way: Cut, request: Request) -> None:
        self.close_connection = True
        if way is Cut.TAKEN:
            self.server.receiver.answer(request)
        if way is Cut.HANG:
            self.server.receiver.released.wait(30)
        if way is Cut.DRIP:
            self._drip()

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.server.receiver.released.wait(0.02):
            try:
                self.wfile.write(b"x")
            except OSError:  # whoever asked has gone
                return

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""


class Server(ThreadingHTTPServer):
    """Knows whose requests it takes."""

    daemon_threads = True

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", 0), Handler)
