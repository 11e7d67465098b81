"""The request id, from header to header by way of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from observability.request_ids import (
    NONE,
    RequestIDFilter,
    current_request_id,
    request_id_middleware,
    request_id_of,
)


@pytest.fixture(autouse=True)
def _outside_of_any_request() -> Iterator[None]:
    """Whatever another test has left behind in this context."""
    token = current_request_id.set(NONE)
    yield
    current_request_id.reset(token)


@pytest.mark.parametrize(
    "sent",
    ["0123456789abcdef", "7d444840-9dc0-11d1-b245-5ffdce74fad2", "Root=1-67891233-abcdef012345"],
)
def test_a_well_formed_id_is_taken(rf: RequestFactory, sent: str) -> None:
    assert request_id_of(rf.get("/", headers={"X-Request-ID": sent})) == sent


@pytest.mark.parametrize(
    "sent",
    ["", "short", "x" * 129, "with space 12345", "forged\r\nline12345", "naïve-12345678", "-" * 20],
)
def test_anything_else_is_replaced(rf: RequestFactory, sent: str) -> None:
    found = request_id_of(rf.get("/", headers={"X-Request-ID": sent}))
    assert found != sent
    assert len(found) == 32


def test_it_is_the_same_at_every_call(rf: RequestFactory) -> None:
    request = rf.get("/")
    assert request_id_of(request) == request_id_of(request)


def test_the_middleware_answers_with_it_and_logs_under_it(rf: RequestFactory) -> None:
    seen = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(current_request_id.get())
        return HttpResponse()

    request = rf.get("/", headers={"X-Request-ID": "0123456789abcdef"})
    response = request_id_middleware(view)(request)
    assert isinstance(response, HttpResponse)
    assert response.headers["X-Request-ID"] == "0123456789abcdef"
    assert seen == ["0123456789abcdef"]
    assert current_request_id.get() == "-"


def test_a_record_outside_of_a_request_has_a_dash() -> None:
    record = logging.makeLogRecord({"msg": "x"})
    assert RequestIDFilter().filter(record)
    assert record.request_id == "-"  # type: ignore[attr-defined]
