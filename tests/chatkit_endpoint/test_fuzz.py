"""Whatever is sent: a sensible status, no traceback, and nothing that is half-written.

``FUZZ_EXAMPLES=10000`` makes it thorough: so many requests, over all of these tests.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatkit_endpoint.models import Attachment, Thread
from observability.models import Turn

from .sample_files import GIF, HTML, JPEG, PDF, PNG, SVG, TEXT, WEBP, ZIP
from .test_isolation_matrix import MISSING, TABLE, Ids, Row, furnish
from .visitors import Answer, Visitor

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
TESTS = 3
STATUSES = {200, 400, 401, 403, 404, 409, 413, 415, 429, 501}
TRACES = (b"Traceback", b'File "', b"Error at /")

Furnish = Callable[[], Ids]


class Alice(NamedTuple):
    """What alice's browser can do."""

    send: Callable[[bytes], Answer]
    """Any bytes as JSON to the chat."""
    upload: Callable[[str, bytes, str], Answer]
    """Any bytes to an address of the files', as this type."""
    furnish: Furnish
    """Have her a new conversation to point at."""


# What they are asked of is not there any more, or not all of it.
DESTRUCTIVE = {"threads.delete", "threads.retry_after_item", "attachments.delete"}

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]
thorough = hypothesis_settings(
    max_examples=-(-EXAMPLES // TESTS),
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
def alice(
    transactional_db: None, settings: Any, concierge: None, tmp_path: Path
) -> Iterator[Alice]:
    settings.CHATKIT_RATE_LIMIT = ""
    settings.CHATKIT_ADDRESS_RATE_LIMIT = ""
    settings.CHATKIT_ATTACHMENT_MAX_COUNT = 10**9
    settings.CHATKIT_ATTACHMENT_MAX_BYTES = 2000
    settings.MEDIA_ROOT = tmp_path
    with asyncio.Runner() as runner:
        user = User.objects.create(username="alice")
        visitor = runner.run(Visitor().sign_in(user))
        conversations: list[Ids] = []

        def furnish_one() -> Ids:
            place = str(len(conversations))
            ids = runner.run(furnish(visitor, f"user:{user.pk}", user, "", place))
            conversations.append(ids)
            return ids

        def upload(path: str, body: bytes, content_type: str) -> Answer:
            response: Any = runner.run(
                visitor.http.post(
                    path, data=body, content_type=content_type, headers=visitor.headers
                )
            )
            return Answer(response.status_code, response.content, response.headers)

        yield Alice(lambda body: runner.run(visitor.post(body)), upload, furnish_one)


def check(answer: Answer) -> None:
    event(f"status {answer.status}")
    assert answer.status in STATUSES, answer.body
    assert not any(trace in answer.body for trace in TRACES), answer.body
    if answer.status != 200:
        assert set(answer.json["error"]) == {"code", "message"}
    assert not Turn.objects.filter(status__in=("running", "failed")).exists(), answer.body
    # A thread begins with a prompt: one without was left half-written.
    assert not Thread.objects.filter(items=None).exists(), answer.body


@thorough
@given(body=st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(alice: Alice, body: bytes) -> None:
    check(alice.send(body))


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, bool, list[tuple[int, Any]]]:
    """A row of the table, whether what it points at exists, and what to put where in it."""
    row = draw(st.integers(0, len(TABLE) - 1))
    changes = draw(st.lists(st.tuples(st.integers(0, 40), _json), max_size=3))
    return row, draw(st.booleans()), changes


@thorough
@given(request=requests())
def test_any_change_of_a_valid_request(
    alice: Alice, request: tuple[int, bool, list[tuple[int, Any]]]
) -> None:
    number, exists, changes = request
    row = TABLE[number]
    params = row.params(_conversation(alice.furnish, row) if exists else MISSING)
    body: Any = {"type": row.operation, "params": json.loads(json.dumps(params))}
    for place, value in changes:
        change(body, place, value)
    check(alice.send(json.dumps(body).encode()))


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


# -- files ------------------------------------------------------------------------------------

_FILES = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/gif": GIF,
    "image/webp": WEBP,
    "application/pdf": PDF,
    "text/plain": TEXT,
}
_contents = st.binary(max_size=60) | st.sampled_from(
    [*_FILES.values(), HTML, SVG, ZIP, PNG * 40, b"", PNG[:20]]
)
# What a form's header may hold, and what it may not.
_words = st.binary(max_size=20) | st.sampled_from(
    [b"../../etc/passwd", b'a"; filename="b', b"a\r\nX-Evil: 1", b"\x00", b""]
)
FORM = "multipart/form-data; boundary=limit"
# One thing in five or so is not as it should be.
_is_odd = st.sampled_from([False] * 4 + [True])


class Form(NamedTuple):
    """An upload: whether, and as what, it is announced first; its body and the type of that."""

    announced_as: str
    body: bytes
    content_type: str


@st.composite
def forms(draw: st.DrawFn) -> Form:
    mime_type = draw(st.sampled_from(list(_FILES)))
    parts = []
    for _ in range(2 if draw(_is_odd) else 1):
        part = (
            draw(_words) if draw(_is_odd) else b"file",
            draw(_words) if draw(_is_odd) else b"cat.png",
            draw(_words) if draw(_is_odd) else mime_type.encode(),
            draw(_contents) if draw(_is_odd) else _FILES[mime_type],
        )
        parts.append(
            b'--limit\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n'
            b"Content-Type: %b\r\n\r\n%b\r\n" % part
        )
    body = b"".join(parts) + b"--limit--\r\n"
    if draw(_is_odd):
        body = body[: draw(st.integers(0, len(body)))]
    odd = st.sampled_from(
        ["multipart/form-data", "text/plain", "", "multipart/form-data; boundary="]
    )
    content_type = draw(odd) if draw(_is_odd) else FORM
    announced_as = mime_type if draw(st.booleans()) else ""
    return Form(announced_as, body, content_type)


@thorough
@given(form=forms())
def test_any_upload(alice: Alice, tmp_path: Path, form: Form) -> None:
    path = "/chatkit/attachments/"
    if form.announced_as:
        params = {"name": "a", "size": 70, "mime_type": form.announced_as}
        request = json.dumps({"type": "attachments.create", "params": params})
        path = alice.send(request.encode()).json["upload_descriptor"]["url"]
        path = path.removeprefix("http://testserver")
    before = Attachment.objects.exclude(file="").count()
    answer = alice.upload(path, form.body, form.content_type)
    check(answer)
    # Whole or not at all: as many files as rows that have one, and no such row still waits.
    rows = Attachment.objects.exclude(file="")
    assert rows.count() == before + (answer.status == 200)
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == rows.count()
    assert not rows.filter(payload__contains='"upload_descriptor":{').exists()
