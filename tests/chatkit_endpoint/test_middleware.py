"""Django's middleware without its threads does what Django's does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.messages import constants
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, RequestFactory

from chatkit_endpoint import middleware

NAMES = (
    "AuthenticationMiddleware",
    "CommonMiddleware",
    "ContentSecurityPolicyMiddleware",
    "LocaleMiddleware",
    "MessageMiddleware",
    "SessionMiddleware",
)


@pytest.mark.parametrize("name", NAMES)
async def test_it_stays_in_the_event_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = getattr(middleware, name)
    threads = []

    def noted(half: str) -> None:
        original = getattr(kind, half, None)
        if original is not None:

            def process(self: Any, *args: Any) -> Any:
                threads.append(threading.current_thread())
                return original(self, *args)

            monkeypatch.setattr(kind, half, process)

    noted("process_request")
    noted("process_response")
    request = RequestFactory().get("/", headers={"accept-language": "de"})
    request.session = middleware.SessionMiddleware(_answer).SessionStore()
    response = await kind(_answer)(request)
    assert response.status_code == 200
    assert threads
    assert set(threads) == {threading.current_thread()}


async def test_a_session_that_is_to_be_saved_is_saved_on_a_thread(
    transactional_db: None, async_client: AsyncClient
) -> None:
    response = await async_client.get("/accounts/login/", headers={"accept-language": "de"})
    assert response.status_code == 200
    assert response.headers["Content-Language"] == "de"
    assert "Cookie" in response.headers["Vary"]

    async def answer(request: HttpRequest) -> HttpResponse:
        request.session["seen"] = True
        return HttpResponse()

    session = middleware.SessionMiddleware(answer)
    response = await session(RequestFactory().get("/"))  # type: ignore[misc]
    store = session.SessionStore(response.cookies["sessionid"].value)
    assert await store.aget("seen") is True


async def test_messages_that_are_to_be_kept_are_kept() -> None:
    async def answer(request: Any) -> HttpResponse:
        request._messages.add(constants.INFO, "Saved.")
        return HttpResponse()

    request = RequestFactory().get("/")
    request.session = middleware.SessionMiddleware(_answer).SessionStore()
    response: Any = await middleware.MessageMiddleware(answer)(request)  # type: ignore[misc]
    assert response.cookies["messages"].value


@pytest.mark.parametrize("name", NAMES)
def test_without_an_event_loop_it_is_django_s(name: str) -> None:
    kind: Any = getattr(middleware, name)
    request = RequestFactory().get("/")
    request.session = middleware.SessionMiddleware(_answer).SessionStore()
    instance = kind(lambda request: HttpResponse())
    assert not iscoroutinefunction(instance)
    assert instance(request).status_code == 200


async def _answer(request: HttpRequest) -> Any:
    return HttpResponse()
