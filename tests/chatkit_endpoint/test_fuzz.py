"""Whatever is sent: a sensible status, no traceback, and nothing that is half-written.

``FUZZ_EXAMPLES=10000`` makes it thorough.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatkit_endpoint.models import Thread
from observability.models import Turn

from .test_isolation_matrix import MISSING, TABLE, Ids, Row, furnish
from .visitors import Answer, Visitor

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
STATUSES = {200, 400, 401, 403, 404, 409, 413, 415, 429, 501}
TRACES = (b"Traceback", b'File "', b"Error at /")

Send = Callable[[bytes], Answer]
Furnish = Callable[[], Ids]

# What they are asked of is not there any more, or not all of it.
DESTRUCTIVE = {"threads.delete", "threads.retry_after_item", "attachments.delete"}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]
thorough = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_text = st.text(max_size=30) | st.sampled_from(
    ["\x00", "\ud800", "\u2028", "' OR 1=1 --", "../../etc", "{{7*7}}", "x" * 300, "__fake_id__"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def alice(transactional_db: None, settings: Any, concierge: None) -> Iterator[tuple[Send, Furnish]]:
    """A way to send bytes as alice, and one to give her a new conversation to point at."""
    settings.CHATKIT_RATE_LIMIT = ""
    settings.CHATKIT_ADDRESS_RATE_LIMIT = ""
    settings.CHATKIT_ATTACHMENT_MAX_COUNT = 10**9
    with asyncio.Runner() as runner:
        user = User.objects.create(username="alice")
        visitor = runner.run(Visitor().sign_in(user))
        conversations: list[Ids] = []

        def furnish_one() -> Ids:
            place = str(len(conversations))
            ids = runner.run(furnish(visitor, f"user:{user.pk}", user, "", place))
            conversations.append(ids)
            return ids

        yield lambda body: runner.run(visitor.post(body)), furnish_one


def check(answer: Answer) -> None:
    assert answer.status in STATUSES, answer.body
    assert not any(trace in answer.body for trace in TRACES), answer.body
    if answer.status != 200:
        assert set(answer.json["error"]) == {"code", "message"}
    assert not Turn.objects.filter(status__in=("running", "failed")).exists(), answer.body
    # A thread begins with a prompt: one without was left half-written.
    assert not Thread.objects.filter(items=None).exists(), answer.body


@thorough
@given(body=st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(alice: tuple[Send, Furnish], body: bytes) -> None:
    send, _ = alice
    check(send(body))


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, bool, list[tuple[int, Any]]]:
    """A row of the table, whether what it points at exists, and what to put where in it."""
    row = draw(st.integers(0, len(TABLE) - 1))
    changes = draw(st.lists(st.tuples(st.integers(0, 40), _json), max_size=3))
    return row, draw(st.booleans()), changes


@thorough
@given(request=requests())
def test_any_change_of_a_valid_request(
    alice: tuple[Send, Furnish], request: tuple[int, bool, list[tuple[int, Any]]]
) -> None:
    send, furnish_one = alice
    number, exists, changes = request
    row = TABLE[number]
    params = row.params(_conversation(furnish_one, row) if exists else MISSING)
    body: Any = {"type": row.operation, "params": json.loads(json.dumps(params))}
    for place, value in changes:
        change(body, place, value)
    check(send(json.dumps(body).encode()))


_kept: dict[Furnish, Ids] = {}


def _conversation(furnish_one: Furnish, row: Row) -> Ids:
    """The same one for all requests but those that destroy something."""
    if row.operation in DESTRUCTIVE:
        return furnish_one()
    if furnish_one not in _kept:
        _kept[furnish_one] = furnish_one()
    return _kept[furnish_one]


def change(body: Any, place: int, value: Any) -> None:
    """Put the value in one of the body's places, all of them counted through."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys: Any = node if isinstance(node, dict) else range(len(node))
        for key in list(keys):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(body)
    node, key = places[place % len(places)]
    node[key] = value
