"""HTTP for connectors: one request at a time, with bounds, and failures as DeliveryError. Standard library only.

* Connecting takes at most 5 s for each address of the host, and at `timeout` seconds from the start all is over: a server that
  sends a byte now and then does not stretch it. Looking up a name is the system's business and has its own bound.
* TLS is verified; SSL_CERT_FILE names other certificates to trust. HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.
* No redirect is followed: the body and the credentials are meant for the address that was configured.
* Messages name the host only: paths and queries of hooks are secrets. Secrets that the other side repeats are masked.
* Nothing is tried again here: `retry` and `after` of the error say whether and when it makes sense.
"""

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from pipeline.errors import DeliveryError
from pipeline.model import words

CONNECT = 5.0
PORTS = {"http": 80, "https": 443}
LARGEST = 8 << 20
"""Bytes of an answer that are read."""
EXCERPT = 200
TEMPORARY = (408, 425, 429)
"""Answers below 500 after which the same request may succeed."""
BARRED = (401, 403, 404, 407)
"""Answers that are about the receiver and not about this request: it succeeds once somebody has mended credentials or address."""
MENDING = 300.0
"""Seconds between two attempts at what somebody has to mend."""
HINTS = {
    400: "the other side does not understand the request; see what it says",
    401: "check the credentials in the configuration",
    403: "check the credentials in the configuration and what they permit",
    404: "check the address in the configuration",
    413: "the other side takes only smaller messages",
}
"""What to do, by the status of an answer."""


def _address(text: str) -> str:
    parts = urlsplit(text) if text.isascii() and text.isprintable() and " " not in text else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address is http:// or https:// with a host, in letters that an address may have")
    if parts.username or parts.password:
        raise ValueError("user and password do not belong into an address; use the setting for credentials")
    parts.hostname.encode("idna")  # raises ValueError for what the resolver would not even look up
    if parts.port == 0:  # and so does the port if it is none
        raise ValueError("a port is a number from 1 to 65535")
    return text


def _secret_address(secret: SecretStr) -> SecretStr:
    return SecretStr(_address(secret.get_secret_value().strip()))


def _token(secret: SecretStr) -> SecretStr:
    """A secret that goes into a header; one read from a file ends with a newline."""
    token = secret.get_secret_value().strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("a secret is at least one printable ASCII letter")
    return SecretStr(token)


Address = Annotated[str, AfterValidator(_address)]
SecretAddress = Annotated[SecretStr, AfterValidator(_secret_address)]
Token = Annotated[SecretStr, AfterValidator(_token)]


class Settings(BaseModel):
    """What sinks that speak HTTP have in common. `timeout`: seconds for a whole exchange."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    timeout: float = Field(default=15.0, gt=0, le=300)


@dataclass
class Client:
    """Sends requests for one component. `what` says in messages what was attempted; `secrets` are masked in them; `hints` say
    what to do, by status.
    """

    what: str
    timeout: float
    secrets: Sequence[SecretStr] = field(default=(), repr=False)
    hints: Mapping[int, str] = field(default_factory=dict)

    def send(
        self, method: str, url: str, *, now: float, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body that one request is answered with; `now` is seconds since 1970. Raises DeliveryError for whatever is not an
        answer from 200 to 299.
        """
        target = urlsplit(url)
        try:
            status, about, text = self._exchange(method, target, body, {"User-Agent": "headwater", **(headers or {})})
        except TimeoutError as error:
            raise self.failure(target, f"no answer within {self.timeout:g} s; is it overloaded?", retry=True) from error
        except socket.gaierror as error:
            raise self.failure(target, f"no such host ({error.strerror}); check the address and DNS", retry=True) from error
        except ssl.SSLCertVerificationError as error:
            hint = "SSL_CERT_FILE names further certificates to trust"
            raise self.failure(target, f"its certificate is not accepted: {error.verify_message}; {hint}", retry=True) from error
        except (OSError, http.client.HTTPException) as error:
            reason = words.flat(getattr(error, "strerror", None) or str(error) or type(error).__name__, EXCERPT)
            raise self.failure(target, f"{reason}; is it up and reachable from here?", retry=True) from error
        if not 200 <= status < 300:  # noqa: PLR2004 (the range that HTTP calls success)
            raise self._refused(target, status, about, text, now)
        return text

    def failure(self, target: SplitResult, happened: str, *, retry: bool, after: float | None = None) -> DeliveryError:
        """The error for something that went wrong with a request."""
        return DeliveryError(f"{self.what} ({origin(target)}): {self.masked(happened)}", retry=retry, after=after)

    def masked(self, text: str) -> str:
        """Text without secrets."""
        for secret in self.secrets:
            for part in _parts(secret.get_secret_value()):
                text = text.replace(part, "***")
        return text

    def _exchange(
        self, method: str, target: SplitResult, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + self.timeout
        connection, path, more = self._connection(target)
        connection.response_class = partial(_TimedResponse, deadline)  # type: ignore[assignment]
        with closing(connection):
            connection.connect()
            connection.sock.settimeout(_left(deadline))
            connection.request(method, path, body, {**headers, **more, "Connection": "close"})
            answer = connection.getresponse()
            about = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, about, answer.read(LARGEST)

    def _connection(self, target: SplitResult) -> tuple[http.client.HTTPConnection, str, Mapping[str, str]]:
        """A connection to the target or its proxy, what to ask it for, and headers for the proxy."""
        host, timeout = target.hostname or "", min(CONNECT, self.timeout)
        own = target.port or PORTS[target.scheme]
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        named = None if proxy_bypass(host) else getproxies().get(target.scheme)
        proxy = urlsplit(named if "://" in named else f"http://{named}") if named else None
        where, port = (proxy.hostname or "", proxy.port or 80) if proxy else (host, own)
        login = _login(proxy) if proxy else {}
        if target.scheme == "http":
            plain = http.client.HTTPConnection(where, port, timeout=timeout)
            return plain, f"http://{target.netloc}{path}" if proxy else path, login
        secure = http.client.HTTPSConnection(where, port, timeout=timeout, context=self._tls)
        if proxy:
            secure.set_tunnel(host, own, dict(login))
        return secure, path, {}

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _refused(self, target: SplitResult, status: int, about: Mapping[str, str], body: bytes, now: float) -> DeliveryError:
        said = words.flat(self.masked(body.decode(errors="replace")), EXCERPT)
        reason = f"HTTP {status} {http.client.responses.get(status, '')}".strip() + (f", saying: {said}" if said else "")
        temporary = status in TEMPORARY or status >= 500  # noqa: PLR2004 (errors of the server)
        barred = status in BARRED
        moved = f"it has moved to {origin(urlsplit(about['location']))}; configure that address" if "location" in about else ""
        hint = self.hints.get(status) or moved or HINTS.get(status, "")
        asked = _after(about.get("retry-after", ""), now) if temporary else MENDING if barred else None
        return self.failure(target, reason + (f"; {hint}" if hint else ""), retry=temporary or barred, after=asked)


def origin(target: SplitResult) -> str:
    """Scheme, host and port: what may be shown of an address."""
    return f"{target.scheme}://{target.netloc.rpartition('@')[2]}"


def _parts(secret: str) -> list[str]:
    """What of a secret may come back alone: path and query of an address, what follows the scheme of an authorization."""
    address = urlsplit(secret) if "://" in secret else None
    parts = [secret, address.path, address.query] if address else [secret, secret.rpartition(" ")[2]]
    return [part for part in parts if part.strip("/")]


def _login(proxy: SplitResult) -> Mapping[str, str]:
    if not proxy.username:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _after(text: str, now: float) -> float | None:
    """The seconds that a Retry-After asks for, as a number or as a date; None for anything else."""
    if text.strip().isdecimal():
        return float(text)
    try:
        asked = parsedate_to_datetime(text)
    except ValueError:
        return None
    dated = asked if asked.tzinfo else asked.replace(tzinfo=UTC)
    return max(0.0, dated.timestamp() - now)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _TimedResponse(http.client.HTTPResponse):
    """An answer that must be complete at the deadline: a timeout of the socket alone begins anew with every byte."""

    def __init__(self, deadline: float, sock: socket.socket, *, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, deadline))


class _Timed(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
