"""HTTP to collectors, bounded in time and size, that leaves no trace of where it went.

The time-outs of HTTP clients are for each wait, so a server that drips bytes holds a thread for
ever. An event loop can end a request as a whole at its deadline, wherever it is: so the requests
of the worker's thread run in a loop of that thread's own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
from django.utils import timezone

CONNECT_SECONDS = 3.0
KEEP_ALIVE_SECONDS = 30.0
BODY_BYTES = 64 * 1024
UNWANTED_BODY_SECONDS = 1.0
"""A post's answer has a body that hardly anybody needs; past this, a new connection is cheaper."""
ADDRESS_LENGTH = 2048

T = TypeVar("T")


class TransportError(Exception):
    """No answer was had. Its text is the kind of failure only: causes may tell the URL."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said: its status, and its headers under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Post(NamedTuple):
    """What to send where."""

    url: str
    content: bytes
    headers: Mapping[str, str]


class BoundedClient:
    """Sends requests, for one thread; only ``cut_off`` may be called from others."""

    def __init__(self, *, seconds: float) -> None:
        """``seconds`` bound each request as a whole."""
        self._seconds = seconds
        self._cut_off = math.inf
        self._deadlines: set[asyncio.Timeout] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_DaemonExecutor())
        self._tls = httpx.create_ssl_context()
        self._clients: list[httpx.AsyncClient] = []

    def post_all(self, posts: Iterable[Post]) -> list[Answer | TransportError]:
        """Send them at once, each with a deadline of its own. Redirects are answers like others.

        The body of an answer is there only if it came at once, and whole.
        """
        return self._loop.run_until_complete(
            self._gathered(
                self._answer(self._client(number), "POST", *post, body_wanted=False)
                for number, post in enumerate(posts)
            )
        )

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask, and read at most ``BODY_BYTES``; a longer body is a TransportError, which it raises
        like any other.
        """
        answer = self._loop.run_until_complete(
            self._answer(self._client(0), "GET", url, b"", headers, body_wanted=True)
        )
        if isinstance(answer, TransportError):
            raise answer
        return answer

    def cut_off(self, tick: float) -> None:
        """Fail whatever waits at that ``time.monotonic()``, now and from now on: for shutdown."""
        self._cut_off = tick
        with suppress(RuntimeError):  # The loop is closed: nothing waits.
            self._loop.call_soon_threadsafe(self._shorten)

    def close(self) -> None:
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def _client(self, number: int) -> httpx.AsyncClient:
        """Each of the requests that are sent at once has a client of its own, and so a connection:
        a pool of many looks at all of them, at each request, again and again.
        """
        while len(self._clients) <= number:
            self._clients.append(
                httpx.AsyncClient(
                    # Bodies are read raw, so that their size is known before they are unpacked.
                    headers={"Accept-Encoding": "identity"},
                    timeout=httpx.Timeout(
                        self._seconds, connect=min(CONNECT_SECONDS, self._seconds)
                    ),
                    limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
                    verify=self._tls,
                    follow_redirects=False,
                )
            )
        return self._clients[number]

    async def _gathered(self, asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        return await asyncio.gather(*asked)

    async def _answer(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        *,
        body_wanted: bool,
    ) -> Answer | TransportError:
        try:
            return await self._request(
                client, method, url, content, headers, body_wanted=body_wanted
            )
        except TransportError as error:
            return error
        except TimeoutError:
            return TransportError("DeadlineExceeded")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return TransportError(type(error).__name__)

    async def _request(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        content: bytes,
        headers: Mapping[str, str],
        *,
        body_wanted: bool,
    ) -> Answer:
        _is_unsaid.set(True)
        end = min(time.monotonic() + self._seconds, self._cut_off)
        async with asyncio.timeout(end - time.monotonic()) as deadline:
            self._deadlines.add(deadline)
            try:
                async with client.stream(
                    method, url, content=content, headers=dict(headers)
                ) as response:
                    body = await self._read(response, wanted=body_wanted)
            finally:
                self._deadlines.discard(deadline)
        return Answer(status=response.status_code, headers=response.headers, body=body)

    async def _read(self, response: httpx.Response, *, wanted: bool) -> bytes:
        body = bytearray()
        if wanted:
            async for part in response.aiter_raw():
                body += part
                if len(body) > BODY_BYTES:
                    raise TransportError("BodyTooLarge")
            return bytes(body)
        # The status is had, and that is the answer; leaving early closes the connection.
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(UNWANTED_BODY_SECONDS):
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > BODY_BYTES:
                        return b""
            return bytes(body)
        return b""

    async def _end(self) -> None:
        """With what bodies that were left early, or a Ctrl-C, have left in the loop."""
        for client in self._clients:
            await client.aclose()
        await self._loop.shutdown_asyncgens()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _shorten(self) -> None:
        """In the loop: bring the running requests' deadlines forward to the cut-off."""
        left = max(0.0, self._cut_off - time.monotonic())
        for deadline in self._deadlines:
            with suppress(RuntimeError):  # It has just ended.
                deadline.reschedule(min(deadline.when() or math.inf, self._loop.time() + left))


class _DaemonExecutor(ThreadPoolExecutor):
    """Looks names up. The end of the process waits for asyncio's own threads, and refuses new work
    while the worker sends its last.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        try:
            threading.Thread(target=work, name="observability-lookup", daemon=True).start()
        except RuntimeError:  # Python 3.12 starts no thread any more at the end of its process.
            work()
        return future


_is_unsaid: ContextVar[bool] = ContextVar("is_unsaid", default=False)
"""Set where a request of ours runs: httpx logs URLs at INFO, and these are credentials."""


def _is_said(record: logging.LogRecord) -> bool:
    return not _is_unsaid.get()


logging.getLogger("httpx").addFilter(_is_said)


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


def is_address(value: Any) -> bool:
    """Whether this is something to send to: an http(s) URL with a host. Nothing else ever is."""
    if not isinstance(value, str) or len(value) > ADDRESS_LENGTH:
        return False
    if not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
