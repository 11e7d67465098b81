"""What a well-formed request of its owner may not do all the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from chatkit_endpoint.models import Thread, ThreadItem
from observability.models import Turn
from tests.factories import make_operator

from .visitors import Visitor, message, user_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hasty")]

WRITES: dict[str, dict[str, Any]] = {
    "threads.add_user_message": {"input": message("Hello")},
    "threads.add_client_tool_output": {"result": 1},
    "threads.add_structured_input": {"item_id": "ITEM", "input": {}},
    "threads.retry_after_item": {"item_id": "ITEM"},
    "threads.custom_action": {"action": {"type": "book"}},
    "threads.sync_custom_action": {"action": {"type": "book"}},
}


@pytest.fixture
async def visitor(transactional_db: None) -> Visitor:
    return await Visitor().sign_in(await user_of("alice"))


async def set_status(thread_id: str, **status: str) -> None:
    row = await Thread.objects.aget(key=thread_id)
    row.payload = json.dumps({**json.loads(row.payload), "status": status})
    await row.asave()


@pytest.mark.usefixtures("concierge")
@pytest.mark.parametrize("status", ["locked", "closed"])
@pytest.mark.parametrize("operation", WRITES)
async def test_nothing_is_added_to_a_thread_that_an_operator_shut(
    visitor: Visitor, operation: str, status: str
) -> None:
    answer = await visitor.say("Hello")
    thread_id, item_id = answer.thread.id, answer.done[0].id
    await set_status(thread_id, type=status, reason="A colleague calls you.")
    before = await ThreadItem.objects.acount()
    params = {
        name: item_id if value == "ITEM" else value for name, value in WRITES[operation].items()
    }
    refused = await visitor.ask(operation, thread_id=thread_id, **params)
    assert (refused.status, refused.code) == (409, "thread_locked")
    assert refused.json["error"]["message"] == "A colleague calls you."
    assert await ThreadItem.objects.acount() == before
    assert await Turn.objects.acount() == 1


async def test_a_thread_that_is_shut_can_be_read_rated_and_deleted(visitor: Visitor) -> None:
    answer = await visitor.say("Hello")
    thread_id = answer.thread.id
    await set_status(thread_id, type="locked")
    refused = await visitor.say("More", thread_id)
    assert refused.status == 409
    assert refused.json["error"]["message"]
    shown = await visitor.ask("threads.get_by_id", thread_id=thread_id)
    assert shown.thread.status.type == "locked"
    for operation, params in {
        "items.list": {},
        "items.feedback": {"item_ids": [answer.done[-1].id], "kind": "positive"},
        "threads.delete": {},
    }.items():
        allowed = await visitor.ask(operation, thread_id=thread_id, **params)
        assert allowed.status == 200, operation


async def test_a_prompt_has_a_longest_length(visitor: Visitor, settings: Any) -> None:
    settings.CHATKIT_MAX_PROMPT_CHARS = 20
    assert (await visitor.say("x" * 20)).status == 200
    longer = await visitor.say("x" * 21)
    assert (longer.status, longer.code) == (413, "too_large")
    quoted = await visitor.say("x" * 10, quoted_text="y" * 11)
    assert quoted.status == 413
    tag = {"type": "input_tag", "id": "1", "text": "y" * 21, "data": {}}
    assert (await visitor.say("", content=[tag])).status == 413
    assert await Thread.objects.acount() == 1


@pytest.mark.usefixtures("concierge")
async def test_answers_to_a_structured_input_have_it_too(visitor: Visitor, settings: Any) -> None:
    asked = await visitor.say("a table")
    settings.CHATKIT_MAX_PROMPT_CHARS = 20
    answers = {"time": {"values": ["x" * 11, "y" * 10]}}
    refused = await visitor.ask(
        "threads.add_structured_input",
        thread_id=asked.thread.id,
        item_id=asked.done[-1].id,
        input={"answers": answers},
    )
    assert refused.status == 413


async def test_a_body_has_a_largest_size(visitor: Visitor, settings: Any) -> None:
    settings.CHATKIT_MAX_BODY_BYTES = 500
    answer = await visitor.post(json.dumps({"padding": "x" * 500}))
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    ("headers", "content_type", "status"),
    [
        ({}, "application/json", 200),
        ({"X-CSRFToken": ""}, "application/json", 403),
        ({"X-CSRFToken": "d" * 32}, "application/json", 403),
        ({"X-CSRFToken": ""}, "text/plain", 403),
        ({"Origin": "https://evil.example"}, "application/json", 403),
        ({"Origin": "http://testserver"}, "application/json", 200),
        ({}, "application/x-www-form-urlencoded", 400),
        ({}, "multipart/form-data; boundary=x", 400),
    ],
)
async def test_a_session_needs_a_page_of_ours(
    visitor: Visitor, headers: dict[str, str], content_type: str, status: int
) -> None:
    response: Any = await visitor.http.post(
        "/chatkit",
        data=json.dumps({"type": "threads.list", "params": {}}),
        content_type=content_type,
        headers={**visitor.headers, **headers},
    )
    assert response.status_code == status
    if status == 403:
        assert response.json()["error"]["code"] == "csrf_failed"


async def test_who_is_nobody_any_more_is_refused(visitor: Visitor) -> None:
    from django.contrib.auth.models import User

    alice = await User.objects.aget()
    assert (await visitor.ask("threads.list")).status == 200
    alice.is_active = False
    await alice.asave()
    assert (await visitor.ask("threads.list")).status == 401
    alice.is_active = True
    alice.set_unusable_password()  # As any change of the password, it ends the sessions.
    await alice.asave()
    assert (await visitor.ask("threads.list")).status == 401


@pytest.mark.django_db
def test_only_views_that_check_for_themselves_are_exempt_from_the_middleware() -> None:
    def callbacks(patterns: Any, prefix: str = "") -> Any:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from callbacks(pattern.url_patterns, route)
            else:
                yield route, pattern.callback

    exempt = {
        route
        for route, callback in callbacks(get_resolver().url_patterns)
        if getattr(callback, "csrf_exempt", False)
    }
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_operator())
    for route in exempt:
        if not route.startswith("chatkit") and route != "observability/api/events/":
            answer = client.post("/" + re.sub("<[^>]*>", "1", route))
            assert (answer.status_code, "CSRF Failed" in answer.json()["detail"]) == (403, True)
    assert {"chatkit", "chatkit/", "chatkit/session/"} <= exempt
