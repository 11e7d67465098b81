"""HTTP to collectors, bounded in time and size, that leaves no trace of where it went.

It stands on ``httpcore2``, the transport below the OpenAI client's ``httpx2``, for two reasons.
Up there time-outs are per phase, so that a server that drips bytes holds a thread for ever; here
every wait is cut to what is left of one deadline. And up there whole URLs are logged at INFO.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
from django.utils import timezone

CONNECT_SECONDS = 3.0
"""Per address of the host: a name may have several, and the first ones may be dead."""
KEEP_ALIVE_SECONDS = 30.0
BODY_BYTES = 64 * 1024
UNWANTED_BODY_SECONDS = 1.0
"""An answer's body is read only to keep the connection; past this, a new one is cheaper."""
WRITE_BYTES = 16 * 1024
SLICE_SECONDS = 0.1
"""How soon a wait in progress notices that it was cut off from another thread."""
_FAILURES = (
    OSError,  # Name resolution and TLS too.
    ValueError,  # A host name that no resolver takes, and other junk in a URL.
    httpcore2.ConnectionNotAvailable,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.TimeoutException,
    httpcore2.UnsupportedProtocol,
)


class TransportError(Exception):
    """No answer was had. Its text is the kind of failure only: causes may tell the URL."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said: its status, and its headers under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class BoundedClient:
    """Sends one request at a time, for one thread; only ``cut_off`` may be called from others."""

    def __init__(self, *, seconds: float) -> None:
        """``seconds`` bound each request as a whole, looking up the host's name apart."""
        self._seconds = seconds
        self._deadline = self._cut_off = math.inf
        self._pools: dict[str, httpcore2.ConnectionPool] = {}

    def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Send, and read the status. Redirects are answers like others. Raises TransportError."""
        return self._request("POST", url, content, headers, body_wanted=False)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask, and read at most ``BODY_BYTES``; a longer body is a TransportError."""
        return self._request("GET", url, b"", headers, body_wanted=True)

    def cut_off(self, tick: float) -> None:
        """Fail whatever waits at that ``time.monotonic()``, now and from now on: for shutdown."""
        self._cut_off = tick

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def seconds_left(self) -> float:
        """Of the request that runs. Raises TransportError where nothing is left."""
        left = min(self._deadline, self._cut_off) - time.monotonic()
        if left <= 0:
            raise TransportError("DeadlineExceeded")
        return left

    def _request(
        self,
        method: str,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        *,
        body_wanted: bool,
    ) -> Answer:
        self._deadline = time.monotonic() + self._seconds
        try:
            with self._pool(url).stream(
                method,
                url,
                headers=[*headers.items()],
                content=content,
                # One thread, so a free connection; a wait for one would be a bug, and shall end.
                extensions={"timeout": {"pool": self._seconds}},
            ) as response:
                answer_headers = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
                body = self._read(response, wanted=body_wanted)
                return Answer(status=response.status, headers=answer_headers, body=body)
        except _FAILURES as error:
            raise TransportError(type(error).__name__) from None

    def _read(self, response: httpcore2.Response, *, wanted: bool) -> bytes:
        if wanted:
            body = bytearray()
            for part in response.iter_stream():
                body += part
                if len(body) > BODY_BYTES:
                    raise TransportError("BodyTooLarge")
            return bytes(body)
        self._deadline = min(self._deadline, time.monotonic() + UNWANTED_BODY_SECONDS)
        size = 0
        # The status is had, and that is the answer; leaving early closes the connection.
        with suppress(TransportError, *_FAILURES):
            for part in response.iter_stream():
                size += len(part)
                if size > BODY_BYTES:
                    break
        return b""

    def _pool(self, url: str) -> httpcore2.ConnectionPool:
        """The connections to use for this URL: direct, or through the environment's proxy."""
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme, "")
        if proxy and proxy_bypass(parts.hostname or ""):
            proxy = ""
        if proxy not in self._pools:
            self._pools[proxy] = httpcore2.ConnectionPool(
                proxy=_proxy(proxy) if proxy else None,
                max_connections=2,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=_BoundedBackend(self),
            )
        return self._pools[proxy]


def retry_after_seconds(answer: Answer) -> float | None:
    """``Retry-After``, which is seconds or a date; None where it is missing, past or junk."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    seconds = (moment - timezone.now()).total_seconds()
    return seconds if seconds > 0 else None


def _proxy(url: str) -> httpcore2.Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return httpcore2.Proxy(parts.geturl(), auth=auth)


class _BoundedBackend(httpcore2.NetworkBackend):
    """Connects within the client's deadline, whatever number of addresses a host has."""

    def __init__(self, client: BoundedClient) -> None:
        self._client = client
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = OSError("no address")
        for _, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            seconds = min(CONNECT_SECONDS, self._client.seconds_left())
            try:
                stream = self._backend.connect_tcp(
                    str(address[0]), port, seconds, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(self._client, stream)
        raise failure


class _BoundedStream(httpcore2.NetworkStream):
    """A connection whose every wait ends with the client's deadline."""

    def __init__(self, client: BoundedClient, stream: httpcore2.NetworkStream) -> None:
        self._client = client
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            seconds = min(SLICE_SECONDS, self._client.seconds_left())
            with suppress(httpcore2.ReadTimeout):
                return self._stream.read(max_bytes, seconds)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITE_BYTES):
            piece = buffer[start : start + WRITE_BYTES]
            self._stream.write(piece, self._client.seconds_left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        seconds = self._client.seconds_left()
        return _BoundedStream(
            self._client, self._stream.start_tls(ssl_context, server_hostname, seconds)
        )

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
