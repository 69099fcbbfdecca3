"""HTTP for connectors: proxies, certificates, addresses, what a message may show."""

import base64
import contextlib
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from connectors import http
from pipeline.errors import DeliveryError
from tests.components import receiver as receiving
from tests.components.receiver import Receiver, Reply
from tests.servers import require

CLIENT = http.Client("sink x: posting", timeout=5.0)


def send(url: str, client: http.Client = CLIENT) -> bytes:
    return client.send("POST", url, now=0.0, body=b"hello")


def test_the_body_is_what_comes_back(receiver: Receiver) -> None:
    """Of a good answer; whole, if it comes in chunks."""
    chunks = b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    receiver.script = [Reply(200, chunks, {"Transfer-Encoding": "chunked", "Content-Length": "0"})]
    assert send(receiver.url) == b"abcde"
    assert send(receiver.url) == b'{"status":"success"}'
    assert receiver.requests[1].headers["User-Agent"] == "headwater"


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """Body and credentials are for the address that was configured; the message says where it points, without its secrets."""
    with receiving.running() as other:
        receiver.script = [Reply(307, b"", {"Location": f"{other.url}/login?next=secret"})]
        with pytest.raises(DeliveryError) as caught:
            send(receiver.url)
        assert not other.requests
    assert str(caught.value) == (
        f"sink x: posting ({receiver.url}): HTTP 307 Temporary Redirect; it has moved to {other.url}; configure that address"
    )


@pytest.fixture
def proxy(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver as a proxy with a login, for every host."""
    _proxied(monkeypatch, receiver.url.replace("http://", "http://me:p%40ss@"))
    return receiver


def _proxied(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"NO_PROXY": "", "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}.items():
        monkeypatch.setenv(name, value)


def test_a_proxy_of_the_environment_is_used(proxy: Receiver) -> None:
    """It is asked for the whole address, and given its login; the target's name is not looked up here."""
    send("http://hooks.example:8080/in?x=1")
    (request,) = proxy.requests
    assert request.target == "http://hooks.example:8080/in?x=1"
    assert request.headers["Host"] == "hooks.example:8080"
    assert request.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


def test_a_proxy_is_asked_for_a_tunnel_to_https(proxy: Receiver) -> None:
    """And says no: the error names the target, not the login."""
    with pytest.raises(DeliveryError, match="Tunnel connection failed: 501") as caught:
        send("https://hooks.example/in")
    assert "https://hooks.example" in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_hosts_without_a_proxy_are_asked_directly(proxy: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY, as everywhere."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with receiving.running() as other:
        send(other.url)
        assert len(other.requests) == 1
    assert not proxy.requests


@pytest.fixture
def certified(tmp_path: Path, receiver: Receiver) -> Iterator[tuple[str, Path]]:
    """A server with a certificate for 127.0.0.1 that nobody has signed, and the certificate."""
    openssl = require("openssl", "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=x"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *made, *names], check=True, capture_output=True, timeout=30)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = receiving.Server(receiver)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_certificate_is_verified(certified: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """One that nobody signed is refused before anything is sent, with what to do; SSL_CERT_FILE makes it trusted."""
    url, certificate = certified
    with pytest.raises(DeliveryError, match=r"its certificate is not accepted: self-signed.*SSL_CERT_FILE") as caught:
        send(url, http.Client("sink x: posting", timeout=5.0))
    assert caught.value.retry
    assert not receiver.requests
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(url, http.Client("sink x: posting", timeout=5.0)) == b'{"status":"success"}'


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy that opens one tunnel and notes for where."""

    def handle(self) -> None:
        asked = [line.decode().strip() for line in iter(self.rfile.readline, b"\r\n")]
        self.server.asked = asked[0]  # type: ignore[attr-defined]
        host, _, port = asked[0].split()[1].rpartition(":")
        with socket.create_connection((host, int(port))) as target:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(target, self.connection))
            back.start()
            _pump(self.connection, target)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while piece := source.recv(65536):
        target.sendall(piece)
    with contextlib.suppress(OSError):  # the other side has closed already
        target.shutdown(socket.SHUT_WR)


def test_https_goes_through_a_proxys_tunnel(certified: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy sees host and port; the certificate is that of the target."""
    url, certificate = certified
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with socketserver.TCPServer(("127.0.0.1", 0), Tunnel) as proxy:
        serving = threading.Thread(target=proxy.handle_request)
        serving.start()
        _proxied(monkeypatch, f"127.0.0.1:{proxy.server_address[1]}")
        assert send(url, http.Client("sink x: posting", timeout=5.0)) == b'{"status":"success"}'
        serving.join()
        assert proxy.asked.startswith(f"CONNECT {url.removeprefix('https://')} ")  # type: ignore[attr-defined]


def test_secrets_are_masked_in_whatever_part_they_come_back() -> None:
    """An address as a whole, its path, its query; a token without the word before it."""
    secrets = (SecretStr("https://h.example/in/abc?token=def"), SecretStr("Bearer ghi"), SecretStr("https://h.example/"))
    client = http.Client("x", 1.0, secrets)
    assert client.masked("/in/abc token=def ghi Bearer ghi https://h.example/in/abc?token=def /") == "*** *** *** *** *** /"
    assert "ghi" not in repr(client)


ADDRESSES = {
    "http://alertmanager.monitoring:9093/am": True,
    "https://[2001:db8::1]/x": True,
    "alertmanager:9093": False,
    "ftp://host/x": False,
    "http://": False,
    "http://host:99999": False,
    "http://host:0": False,
    "http://host/with space": False,
    "http://host/\r\nX: y": False,
    "http://" + "a" * 64 + ".example": False,
    "http://me:pass@host/": False,
    "http://bücher.example/": False,
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_checked_before_they_are_used(address: str) -> None:
    """What could not be asked, or would be asked wrongly, is an error of the configuration."""
    adapter = TypeAdapter(http.Address)
    if ADDRESSES[address]:
        assert adapter.validate_python(address) == address
        return
    with pytest.raises(ValidationError):
        adapter.validate_python(address)


def test_an_address_of_ipv6_without_a_port_is_understood() -> None:
    """Its last group is no port."""
    connection, path, _ = CLIENT._connection(urlsplit("http://[2001:db8::1]/x"))
    assert (connection.host, connection.port, path) == ("2001:db8::1", 80, "/x")
