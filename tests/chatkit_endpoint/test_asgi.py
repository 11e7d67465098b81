"""The ASGI application is Django's, with fewer threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db import connection, connections, reset_queries

from chatkit_endpoint import asgi
from tests.observability.helpers import eventually


@pytest.fixture(autouse=True)
def no_threads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_idle", [])


@pytest.fixture(autouse=True)
def receivers_stay() -> Iterator[None]:
    kept = {signal: list(signal.receivers) for signal in (request_started, request_finished)}
    yield
    for signal, receivers in kept.items():
        signal.receivers[:] = receivers
        signal.sender_receivers_cache.clear()


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    """Those on which the synchronous parts of requests began."""
    seen: list[threading.Thread] = []

    def note(**kwargs: Any) -> None:
        seen.append(threading.current_thread())

    request_started.connect(note)
    yield seen
    request_started.disconnect(note)


async def _get(application: Any, path: str, **headers: str) -> dict[str, Any]:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")]
        + [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request"})
    start = await communicator.receive_output(10)
    while (await communicator.receive_output(10)).get("more_body"):
        pass
    await communicator.wait(10)
    return {name.decode().lower(): value.decode() for name, value in start["headers"]} | {
        "status": start["status"]
    }


async def test_requests_that_follow_each_other_share_a_thread(
    threads: list[threading.Thread],
) -> None:
    handler = asgi.Handler()
    for _ in range(3):
        assert (await _get(handler, "/healthz"))["status"] == 200
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


async def test_requests_at_once_have_a_thread_each(threads: list[threading.Thread]) -> None:
    handler = asgi.Handler()
    await asyncio.gather(*(_get(handler, "/healthz") for _ in range(3)))
    assert len(set(threads)) == 3


async def test_no_more_threads_are_kept_than_that(
    threads: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "KEPT_THREADS", 1)
    handler = asgi.Handler()
    await asyncio.gather(*(_get(handler, "/healthz") for _ in range(3)))
    assert len(asgi._idle) == 1
    await asyncio.to_thread(eventually, lambda: sum(map(threading.Thread.is_alive, threads)) == 1)


async def test_a_task_that_outlives_its_request_has_left_its_thread() -> None:
    over = asyncio.Event()

    async def late() -> threading.Thread:
        await over.wait()
        return await sync_to_async(threading.current_thread)()

    with asgi._kept_thread():
        thread = await sync_to_async(threading.current_thread)()
        task = asyncio.create_task(late())
    over.set()
    with asgi._kept_thread():
        assert await sync_to_async(threading.current_thread)() is thread
        assert await task is not thread


async def test_the_thread_of_a_request_that_failed_is_not_kept() -> None:
    with pytest.raises(OSError, match="gone"), asgi._kept_thread():
        thread = await sync_to_async(threading.current_thread)()
        raise OSError("gone")
    assert asgi._idle == []
    await asyncio.to_thread(eventually, lambda: not thread.is_alive())


async def test_a_request_takes_a_thread_for_its_start_and_its_end_and_not_for_middleware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hops: list[str] = []
    call = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(self.func.__qualname__)
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", counted)
    await _get(asgi.get_asgi_application(), "/healthz")
    assert hops == ["HttpResponseBase.close"]
    hops.clear()
    await _get(ASGIHandler(), "/healthz")
    assert len(hops) > 15, hops


async def test_a_thread_is_kept_without_its_connections(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    seen: list[Any] = []

    def ask(**kwargs: Any) -> None:
        connection.ensure_connection()
        seen.append(connections["default"].connection)

    request_started.connect(ask)
    application = asgi.get_asgi_application()
    await _get(application, "/healthz")
    closed: list[Any] = []
    request_started.disconnect(ask)
    request_started.connect(lambda **kwargs: closed.append(connection.connection), weak=False)
    await _get(application, "/healthz")
    assert seen[0] is not None
    assert closed == [None]


async def test_while_debugging_queries_are_forgotten_at_each_start(settings: Any) -> None:
    settings.DEBUG = True
    asgi.get_asgi_application()
    started = [receiver for _, receiver, *_ in request_started.receivers]
    assert any(receiver() is reset_queries for receiver in started)


async def test_its_answers_are_those_of_django_s_own(transactional_db: None) -> None:
    for path in ("/accounts/login/", "/healthz", "/nowhere/", "/admin/"):
        ours, django_s = [
            await _get(handler, path, accept_language="de")
            for handler in (asgi.Handler(), ASGIHandler())
        ]
        for answer in (ours, django_s):
            assert answer.pop("x-request-id")
            for name in ("set-cookie", "expires"):
                answer.pop(name, None)
        assert ours == django_s


def test_the_settings_keep_the_names_that_deployment_checks_look_for() -> None:
    before = list(django_settings.MIDDLEWARE)
    asgi.Handler()
    assert before == django_settings.MIDDLEWARE
    assert "django.middleware.security.SecurityMiddleware" in before
