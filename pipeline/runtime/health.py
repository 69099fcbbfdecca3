"""The service's own HTTP port: `/healthz`, `/readyz`, `/metrics` and `/status`, for localhost, Kubernetes and Prometheus."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline.errors import ConfigError
from pipeline.runtime import metrics
from pipeline.runtime.report import Report

PATIENCE = 5.0
"""Seconds that a question waits for the service."""
Answer = tuple[int, str, bytes]


class Health:
    """Answers while the service runs. `ask` gives a report or None, `alive` says whether turns go round."""

    def __init__(self, listen: str, ask: Callable[[float], Report | None], alive: Callable[[], bool]) -> None:
        """Listens on `host:port`. Raises ConfigError where that is not to be had."""
        host, _, port = listen.rpartition(":")
        self._ask, self._alive = ask, alive
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), self._handler())
        except (OSError, ValueError, OverflowError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"listening on {listen} for health and metrics: {what}; name another address as `listen`"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, `http://host:port`."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """Status, content type and body for a path."""
        if path == "/healthz":
            return _plain(200, "ok") if self._alive() else _plain(503, "no turn was finished for half a minute")
        pages = {"/readyz": _ready, "/metrics": _metrics, "/status": _status}
        if path not in pages:
            return _plain(404, f"there are {', '.join(['/healthz', *pages])}")
        report = self._ask(PATIENCE)
        return pages[path](report) if report is not None else _plain(503, "the service is busy; ask again")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the standard library's name)
                """Questions are not worth a line."""

        return Handler


def _plain(status: int, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def _ready(report: Report) -> Answer:
    return _plain(200, "ready") if report["ready"] else _plain(503, "still reading what came before the start")


def _metrics(report: Report) -> Answer:
    return 200, "text/plain; version=0.0.4; charset=utf-8", metrics.text(report)


def _status(report: Report) -> Answer:
    return 200, "application/json", json.dumps(report, default=str).encode()
