"""What ``/chatkit`` promises its clients, asked over HTTP of a site as it is deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.chatkit_client import ChatClient, message, request
from tests.servers import Server, django_server

MISSING = "thr_00000000000000000000000000000000"
LIST = request("threads.list", {})
A_BODY_OF_1_MB = b" " * 1_000_001
A_BODY_OF_3_MB = b" " * 3_000_000
"""More than Django itself takes."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with django_server(tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture(scope="module")
def alice(site: Server) -> Iterator[ChatClient]:
    with ChatClient(site.url) as client:
        yield client.sign_in("alice")


@pytest.fixture(scope="module")
def bob(site: Server) -> Iterator[ChatClient]:
    with ChatClient(site.url) as client:
        yield client.sign_in("bob")


@pytest.fixture(scope="module")
def guest(site: Server) -> Iterator[ChatClient]:
    """Has seen the login page, so has a token against forged requests, and has not signed in."""
    with ChatClient(site.url) as client:
        client.http.get("/accounts/login/")
        yield client


@pytest.fixture(scope="module")
def thread_id(alice: ChatClient) -> str:
    """A thread of alice's."""
    return alice.chat("/error").thread_id


def assert_refused(answer: httpx.Response, status: int, code: str) -> str:
    """The endpoint said no in its own way; returns what it says to people."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"]
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code
    said: str = body["error"]["message"]
    assert said
    return said


# -- who and how -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/chatkit", "/chatkit/"])
def test_it_answers_with_and_without_a_slash(alice: ChatClient, path: str) -> None:
    answer = alice.send(LIST, path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert "data" in answer.json()


def test_who_is_not_signed_in_is_told_so(guest: ChatClient) -> None:
    assert_refused(guest.send(LIST), 401, "unauthenticated")
    create = request("threads.create", {"input": message("Hello")})
    assert_refused(guest.send(create), 401, "unauthenticated")


def test_who_has_signed_out_is_told_so(site: Server) -> None:
    with ChatClient(site.url).sign_in("alice") as client:
        assert client.send(LIST).status_code == 200
        token = client.headers["X-CSRFToken"]
        assert client.http.post("/accounts/logout/", headers={"X-CSRFToken": token}).is_redirect
        client.http.get("/accounts/login/")
        assert_refused(client.send(LIST), 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/chatkit", "/chatkit/"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_it_takes_nothing_but_posts(alice: ChatClient, method: str, path: str) -> None:
    answer = alice.http.request(method, path, headers=alice.headers)
    assert answer.headers["Allow"] == "POST"
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (405, b"")
    else:
        assert_refused(answer, 405, "method_not_allowed")


# -- forged requests -------------------------------------------------------------------------------

NO_TOKEN = {"X-CSRFToken": None}


@pytest.mark.parametrize(
    "changed",
    [
        NO_TOKEN,
        {**NO_TOKEN, "Content-Type": None},
        # What a form or a script of any other page may send without asking first.
        {**NO_TOKEN, "Content-Type": "text/plain"},
        {"X-CSRFToken": ""},
        {"X-CSRFToken": "x" * 32},
        {"X-CSRFToken": "x" * 64},
        {"X-CSRFToken": "not a token"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Content-Type": "text/plain", "Origin": "https://evil.example"},
    ],
    ids=str,
)
def test_a_forged_request_is_refused(alice: ChatClient, changed: dict[str, str | None]) -> None:
    headers = {**alice.headers, **changed}
    kept = {name: value for name, value in headers.items() if value is not None}
    answer = alice.http.post("/chatkit", content=LIST, headers=kept)
    assert_refused(answer, 403, "csrf_failed")


def test_somebody_else_s_token_is_refused(alice: ChatClient, bob: ChatClient) -> None:
    answer = alice.send(LIST, X_CSRFToken=bob.headers["X-CSRFToken"])
    assert_refused(answer, 403, "csrf_failed")


def test_a_token_without_its_cookie_is_refused(alice: ChatClient, site: Server) -> None:
    headers = {**alice.headers, "Cookie": f"sessionid={alice.http.cookies['sessionid']}"}
    answer = httpx.post(f"{site.url}/chatkit", content=LIST, headers=headers, trust_env=False)
    assert_refused(answer, 403, "csrf_failed")


def test_the_site_s_own_page_is_let_in(alice: ChatClient, site: Server) -> None:
    assert alice.send(LIST, Origin=site.url).status_code == 200


# -- bad input -------------------------------------------------------------------------------------


def an_input(**changes: Any) -> dict[str, Any]:
    return {"input": {**message("Hello"), **changes}}


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a brace": b"{",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"threads.list"',
    "no UTF-8": b"\xff\xfe",
    "UTF-16": LIST.decode().encode("utf-16"),
    "a hundred thousand brackets": b"[" * 100_000,
    "two bodies": LIST + LIST,
    "a form": b"type=threads.list",
    "an unknown operation": request("threads.destroy", {}),
    "no operation": b'{"params": {}}',
    "no parameters": b'{"type": "threads.get_by_id"}',
    "parameters of another kind": b'{"type": "threads.list", "params": []}',
    "an unknown order": request("threads.list", {"order": "sideways"}),
    "no number": b'{"type": "threads.list", "params": {"limit": NaN}}',
    "a number of 5,000 digits": b'{"type": "threads.list", "params": {"limit": %b}}'
    % (b"9" * 5000),
    "half a character": b'{"type": "threads.get_by_id", "params": {"thread_id": "\\ud800"}}',
    "a thread that is a number": request("threads.get_by_id", {"thread_id": 7}),
    "a message without content": request("threads.create", {"input": {}}),
    "a message that is a text": request("threads.create", {"input": "Hello"}),
    "content of an unknown type": request(
        "threads.create", an_input(content=[{"type": "output_text", "text": "Hello"}])
    ),
    "attachments that are a text": request("threads.create", an_input(attachments="atc_1")),
    "feedback of an unknown kind": request(
        "items.feedback", {"thread_id": MISSING, "item_ids": [], "kind": "meh"}
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_a_clear_error(alice: ChatClient, name: str) -> None:
    assert_refused(alice.send(MALFORMED[name]), 400, "invalid_request")


FORMS: dict[str, tuple[str, bytes]] = {
    "fields": ("application/x-www-form-urlencoded", b"type=threads.list"),
    "JSON": ("application/x-www-form-urlencoded", LIST),
    "too many fields": (
        "application/x-www-form-urlencoded",
        b"&".join(b"a%d=b" % number for number in range(2000)),
    ),
    "an unknown encoding": ("application/x-www-form-urlencoded; charset=nonsense", b"a=\xff"),
    "parts": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
    ),
    "parts without a boundary": ("multipart/form-data", b"x"),
    "broken parts": ("multipart/form-data; boundary=x", b"x"),
    "parts in capitals": ("Multipart/Form-Data; boundary=x", b"--x\r\n"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_a_clear_error(alice: ChatClient, name: str) -> None:
    content_type, body = FORMS[name]
    answer = alice.send(body, Content_Type=content_type)
    assert_refused(answer, 400, "invalid_request")


def test_a_form_that_is_too_large_is_refused_while_it_arrives(alice: ChatClient) -> None:
    form = b"a=" + A_BODY_OF_3_MB
    answer = alice.send(form, Content_Type="application/x-www-form-urlencoded")
    assert_refused(answer, 413, "too_large")


def test_a_form_does_not_let_anybody_past_the_check_against_forged_requests(
    alice: ChatClient,
) -> None:
    """The token in a field would do for a form: a form is never an answer to anything."""
    token = alice.headers["X-CSRFToken"]
    answer = alice.http.post("/chatkit", data={"csrfmiddlewaretoken": token})
    assert_refused(answer, 400, "invalid_request")


@pytest.mark.parametrize("body", [A_BODY_OF_1_MB, A_BODY_OF_3_MB], ids=["1 MB", "3 MB"])
def test_a_body_that_is_too_large_is_refused(alice: ChatClient, body: bytes) -> None:
    assert_refused(alice.send(body), 413, "too_large")


def test_a_body_that_grows_too_large_is_refused(alice: ChatClient) -> None:
    """Sent in chunks, it does not say its length beforehand."""
    chunks = (b" " * 100_000 for _ in range(11))
    assert_refused(alice.send(chunks), 413, "too_large")


def test_what_this_chat_does_not_offer_is_said(alice: ChatClient, thread_id: str) -> None:
    audio = {"audio_base64": "", "mime_type": "audio/webm"}
    action = {"thread_id": thread_id, "action": {"type": "buy"}}
    for operation, params in (
        ("input.transcribe", audio),
        ("threads.custom_action", action),
        ("threads.sync_custom_action", action),
    ):
        assert_refused(alice.post(operation, params), 501, "not_supported")


def test_what_does_not_fit_its_thread_is_a_clear_error(alice: ChatClient, thread_id: str) -> None:
    answer = alice.post("threads.add_client_tool_output", {"thread_id": thread_id, "result": {}})
    assert_refused(answer, 400, "invalid_request")
    answer = alice.post("threads.retry_after_item", {"thread_id": thread_id, "item_id": "msg_no"})
    assert_refused(answer, 404, "not_found")


@pytest.mark.parametrize("limit", [-5, 0, 1, 10**30])
def test_a_limit_out_of_range_is_brought_into_it(
    alice: ChatClient, thread_id: str, limit: int
) -> None:
    answer = alice.post("items.list", {"thread_id": thread_id, "limit": limit})
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 1


def test_nothing_that_is_stored_is_lost_by_bad_input(
    alice: ChatClient, site: Server, thread_id: str
) -> None:
    before = stored(site)
    for body in MALFORMED.values():
        alice.send(body)
    for content_type, body in FORMS.values():
        alice.send(body, Content_Type=content_type)
    alice.post("threads.retry_after_item", {"thread_id": thread_id, "item_id": "msg_none"})
    alice.post("threads.add_client_tool_output", {"thread_id": thread_id, "result": {}})
    assert stored(site) == before


def stored(site: Server) -> list[list[dict[str, Any]]]:
    tables = ("chatkit_endpoint_thread", "chatkit_endpoint_threaditem", "observability_turn")
    return [site.query(f"select * from {table} order by id") for table in tables]  # noqa: S608


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("threads.get_by_id", {"thread_id": "a\x00b"}),
        ("threads.list", {"after": "a\x00b"}),
        ("items.list", {"thread_id": MISSING, "after": "a\x00b"}),
        ("threads.add_user_message", {"thread_id": "a\x00b", **an_input()}),
    ],
)
def test_an_id_that_no_database_can_hold_is_a_clear_error(
    alice: ChatClient, operation: str, params: dict[str, Any]
) -> None:
    answer = alice.post(operation, params)
    # PostgreSQL refuses the text itself; SQLite looks, and finds nothing.
    if answer.status_code == 400:
        assert_refused(answer, 400, "invalid_request")
    else:
        assert_refused(answer, 404, "not_found")


def test_a_text_that_no_database_can_hold_is_answered_all_the_same(
    alice: ChatClient, site: Server
) -> None:
    stream = alice.chat("Hel\x00lo", X_Request_ID="a-text-with-nul")
    assert stream.errors == []
    assert "Hel\x00lo" in stream.text
    turn = site.wait_for_row(
        "select * from observability_turn where request_id = %s and status = 'completed'",
        "a-text-with-nul",
    )
    assert turn["prompt"] == "Hel\ufffdlo"


# -- other people's threads ------------------------------------------------------------------------

ON_A_THREAD: dict[str, dict[str, Any]] = {
    "threads.get_by_id": {},
    "threads.update": {"title": "Mine now"},
    "threads.delete": {},
    "threads.add_user_message": an_input(),
    "threads.add_client_tool_output": {"result": {}},
    "threads.add_structured_input": {"item_id": "sin_1", "input": {"inputs": []}},
    "threads.retry_after_item": {"item_id": "msg_1"},
    "threads.custom_action": {"action": {"type": "buy"}},
    "threads.sync_custom_action": {"action": {"type": "buy"}},
}


@pytest.mark.parametrize("operation", ON_A_THREAD)
def test_a_thread_of_somebody_else_does_not_exist(
    bob: ChatClient, site: Server, thread_id: str, operation: str
) -> None:
    before = stored(site)
    params = ON_A_THREAD[operation]
    foreign = bob.post(operation, {"thread_id": thread_id, **params})
    missing = bob.post(operation, {"thread_id": MISSING, **params})
    assert_refused(foreign, 404, "not_found")
    # Not to be told from one that never was.
    assert (foreign.status_code, foreign.content) == (missing.status_code, missing.content)
    assert stored(site) == before


def test_the_items_of_somebody_else_are_none(bob: ChatClient, thread_id: str) -> None:
    answer = bob.post("items.list", {"thread_id": thread_id})
    assert answer.json() == {"data": [], "has_more": False}


def test_somebody_else_s_threads_are_not_listed(
    alice: ChatClient, bob: ChatClient, thread_id: str
) -> None:
    assert thread_id in alice.post("threads.list", {}).text
    assert thread_id not in bob.post("threads.list", {}).text


# -- the stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["Hello", "What time is it in Berlin?", "/error"])
def test_every_frame_is_an_event_of_the_sdk_s_and_its_times_have_a_zone(
    alice: ChatClient, prompt: str
) -> None:
    # That each frame decodes is the client's own business: it fails on one that doesn't.
    stream = alice.chat(prompt)
    assert stream.types[:3] == ["thread.created", "thread.item.done", "stream_options"]
    times = list(times_in(stream.frames))
    assert len(times) >= 2
    assert [time for time in times if datetime.fromisoformat(time).tzinfo is None] == []

    again = alice.chat(prompt, stream.thread_id)
    assert again.types[:2] == ["thread.item.done", "stream_options"]
    assert [time for time in times_in(again.frames) if not time.endswith("Z")] == []


def test_the_times_of_answers_have_a_zone(alice: ChatClient, thread_id: str) -> None:
    for operation, params in (
        ("threads.list", {}),
        ("threads.get_by_id", {"thread_id": thread_id}),
        ("items.list", {"thread_id": thread_id}),
    ):
        times = list(times_in(alice.post(operation, params).json()))
        assert times
        assert [time for time in times if not time.endswith("Z")] == []


def times_in(value: Any) -> Iterator[str]:
    """Every ``created_at`` in there."""
    if isinstance(value, list):
        for each in value:
            yield from times_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "created_at":
                yield each
            yield from times_in(each)


def test_no_proxy_on_the_way_keeps_a_stream_back(alice: ChatClient) -> None:
    headers = alice.chat("/error").response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert "no-cache" in headers["Cache-Control"]
    assert headers["X-Accel-Buffering"] == "no"


def test_the_prompt_may_come_with_a_slash_behind_the_address(alice: ChatClient) -> None:
    answer = alice.send(request("threads.create", an_input()), "/chatkit/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")


# -- the request's id ------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["0123456789abcdef", "Root=1-67891233-abcdef012345"])
def test_a_request_s_id_is_given_back(alice: ChatClient, guest: ChatClient, sent: str) -> None:
    ids = [
        alice.send(LIST, X_Request_ID=sent).headers["X-Request-ID"],
        alice.send(b"{", X_Request_ID=sent).headers["X-Request-ID"],
        guest.send(LIST, X_Request_ID=sent).headers["X-Request-ID"],
        alice.chat("/error", X_Request_ID=sent).response.headers["X-Request-ID"],
    ]
    assert ids == [sent] * 4


@pytest.mark.parametrize("sent", ["", "short", "x" * 129, "with a space in it", "<script>alert(1)"])
def test_a_malformed_id_is_replaced(alice: ChatClient, sent: str) -> None:
    made = alice.send(LIST, X_Request_ID=sent).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_every_request_without_an_id_gets_one_of_its_own(alice: ChatClient) -> None:
    made = {alice.send(LIST).headers["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3


def test_what_a_turn_logs_bears_the_request_s_id(alice: ChatClient, site: Server) -> None:
    begin = len(site.log)
    alice.chat("/error please", X_Request_ID="the-id-of-a-turn")
    said = re.findall(r"^\d{4}-\S+ \S+ (?:WARNING|ERROR) (\S+) \[(.*?)\]", site.log[begin:], re.M)
    assert ("chatkit", "the-id-of-a-turn") in said
    assert {request_id for _, request_id in said} == {"the-id-of-a-turn"}
    assert "please" not in site.log[begin:]


# -- languages -------------------------------------------------------------------------------------

DELETE_MISSING = request("threads.delete", {"thread_id": MISSING})
DICTATION = request("input.transcribe", {"audio_base64": "", "mime_type": "audio/webm"})
REFUSALS: dict[str, tuple[int, str, bytes, dict[str, str]]] = {
    "invalid_request": (400, "POST", b"{", {}),
    "unauthenticated": (401, "POST", LIST, {}),
    "csrf_failed": (403, "POST", LIST, {"X-CSRFToken": "wrong"}),
    "not_found": (404, "POST", DELETE_MISSING, {}),
    "method_not_allowed": (405, "GET", b"", {}),
    "too_large": (413, "POST", A_BODY_OF_1_MB, {}),
    "not_supported": (501, "POST", DICTATION, {}),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_an_error_speaks_the_visitor_s_language(
    alice: ChatClient, guest: ChatClient, code: str
) -> None:
    client = guest if code == "unauthenticated" else alice
    status, method, body, changed = REFUSALS[code]

    def said(language: str) -> str:
        headers = {**client.headers, **changed, "Accept-Language": language}
        answer = client.http.request(method, "/chatkit", content=body, headers=headers)
        return assert_refused(answer, status, code)

    assert said("de") != said("en")
    assert said("de-AT,de;q=0.9,en;q=0.8") == said("de")
    # Not spoken here.
    assert said("tlh") == said("en")
