"""Django's middleware without its threads does what Django's does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.messages import constants
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.views.decorators.csrf import csrf_exempt

from chatkit_endpoint import middleware

NAMES = (
    "AuthenticationMiddleware",
    "CommonMiddleware",
    "ContentSecurityPolicyMiddleware",
    "CsrfViewMiddleware",
    "LocaleMiddleware",
    "MessageMiddleware",
    "SecurityMiddleware",
    "SessionMiddleware",
    "XFrameOptionsMiddleware",
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


async def test_a_session_that_is_to_be_saved_is_saved_on_a_thread(transactional_db: None) -> None:
    async def answer(request: HttpRequest) -> HttpResponse:
        request.session["seen"] = True
        return HttpResponse()

    session = middleware.SessionMiddleware(answer)
    response = await session(RequestFactory().get("/"))  # type: ignore[misc]
    store = session.SessionStore(response.cookies["sessionid"].value)
    assert await store.aget("seen") is True


async def test_a_view_may_take_the_session_away() -> None:
    async def answer(request: Any) -> HttpResponse:
        del request.session
        return HttpResponse()

    response: Any = await middleware.SessionMiddleware(answer)(RequestFactory().get("/"))  # type: ignore[misc]
    assert response.status_code == 200


async def test_messages_that_are_to_be_kept_are_kept() -> None:
    async def answer(request: Any) -> HttpResponse:
        request._messages.add(constants.INFO, "Saved.")
        return HttpResponse()

    request = RequestFactory().get("/")
    request.session = middleware.SessionMiddleware(_answer).SessionStore()
    response: Any = await middleware.MessageMiddleware(answer)(request)  # type: ignore[misc]
    assert response.cookies["messages"].value


class TestForgery:
    """The middleware that keeps others' forms out."""

    async def _checked(self, request: HttpRequest, view: Any) -> tuple[Any, list[threading.Thread]]:
        threads = []

        class Noted(middleware.CsrfViewMiddleware):
            def _accept(self, request: HttpRequest) -> Any:
                threads.append(threading.current_thread())
                return super()._accept(request)  # type: ignore[misc]

            def _reject(self, request: HttpRequest, reason: str) -> Any:
                threads.append(threading.current_thread())
                return super()._reject(request, reason)  # type: ignore[misc]

        check = Noted(_answer)
        check.process_request(request)
        return await check.process_view(request, view, (), {}), threads

    async def test_a_form_without_a_token_is_refused_and_read_on_a_thread(self) -> None:
        request = RequestFactory(enforce_csrf_checks=True).post("/", {"name": "value"})
        refused, (thread,) = await self._checked(request, _answer)
        assert refused.status_code == 403
        assert thread is not threading.current_thread()

    async def test_a_form_with_the_token_passes(self) -> None:
        token = "t" * 32
        request = RequestFactory(enforce_csrf_checks=True).post("/", {"csrfmiddlewaretoken": token})
        request.COOKIES["csrftoken"] = token
        refused, (thread,) = await self._checked(request, _answer)
        assert refused is None
        assert thread is not threading.current_thread()

    async def test_who_only_reads_takes_no_thread(self) -> None:
        refused, (thread,) = await self._checked(RequestFactory().get("/"), _answer)
        assert refused is None
        assert thread is threading.current_thread()

    async def test_a_view_that_is_exempt_takes_no_thread(self) -> None:
        request = RequestFactory(enforce_csrf_checks=True).post("/", {"name": "value"})
        assert await self._checked(request, csrf_exempt(_answer)) == (None, [])

    def test_tokens_in_sessions_stay_django_s(self, settings: Any) -> None:
        name = "django.middleware.csrf.CsrfViewMiddleware"
        assert middleware.without_threads([name]) != [name]
        settings.CSRF_USE_SESSIONS = True
        assert middleware.without_threads([name]) == [name]


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
