"""Hosted mode: a client secret for the browser, made on the server."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chatkit_endpoint import assistant

from .visitors import Answer, Visitor, user_of

pytestmark = pytest.mark.django_db(transaction=True)

SESSION = {
    "id": "cksess_1",
    "object": "chatkit.session",
    "client_secret": "ek_secret",
    "expires_at": 1_795_000_000,
    "status": "active",
    "max_requests_per_1_minute": 10,
    "rate_limits": {"max_requests_per_1_minute": 10},
    "user": "somebody",
    "workflow": {"id": "wf_1", "version": None, "state_variables": None, "tracing": {}},
    "chatkit_configuration": {},
}


class _Sessions(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: _Sessions

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers, body))
        content = json.dumps(SESSION if self.server.status == 200 else {}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


@pytest.fixture
async def openai(settings: Any) -> AsyncIterator[_Sessions]:
    assistant._client.cache_clear()
    server = _Sessions()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings.CHATKIT_WORKFLOW_ID = "wf_1"
    settings.OPENAI_API_KEY = "a-key"
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
    yield server
    await assistant.openai_client().close()
    assistant._client.cache_clear()
    server.shutdown()
    server.server_close()
    thread.join(5)


async def begin(visitor: Visitor) -> Answer:
    return await visitor.post("{}", "/chatkit/session/")


async def test_a_secret_is_made_for_the_visitor_and_no_more_is_told(openai: _Sessions) -> None:
    alice = await user_of("alice")
    answer = await begin(await Visitor().sign_in(alice))
    assert answer.status == 200
    assert answer.json == {"client_secret": "ek_secret", "expires_at": 1_795_000_000}
    ((path, headers, body),) = openai.asked
    assert path == "/v1/chatkit/sessions"
    assert headers["openai-beta"] == "chatkit_beta=v1"
    assert headers["authorization"] == "Bearer a-key"
    assert body["workflow"] == {"id": "wf_1"}
    assert set(body) == {"user", "workflow"}
    assert len(body["user"]) == 32
    assert "alice" not in body["user"]

    await begin(await Visitor().sign_in(alice))
    await begin(await Visitor().sign_in(await user_of("bob")))
    names = [body["user"] for _, _, body in openai.asked]
    assert names[0] == names[1] != names[2]


async def test_it_is_off_unless_a_workflow_is_named(openai: _Sessions, settings: Any) -> None:
    settings.CHATKIT_WORKFLOW_ID = ""
    answer = await begin(await Visitor().sign_in(await user_of("alice")))
    assert (answer.status, answer.code) == (404, "not_found")
    assert openai.asked == []


async def test_without_a_key_it_is_not_supported(openai: _Sessions, settings: Any) -> None:
    visitor = await Visitor().sign_in(await user_of("alice"))
    settings.OPENAI_API_KEY = ""
    assert (await begin(visitor)).status == 501
    settings.OPENAI_API_KEY = "a-key"


async def test_it_is_for_visitors_on_our_pages_only(openai: _Sessions) -> None:
    assert (await begin(Visitor())).status == 401
    alice = await user_of("alice")
    assert (await begin(await Visitor(**{"X-CSRFToken": ""}).sign_in(alice))).status == 403
    got: Any = await (await Visitor().sign_in(alice)).http.get("/chatkit/session/")
    assert got.status_code == 405
    assert openai.asked == []


async def test_a_failure_of_openai_is_told_without_its_words(openai: _Sessions) -> None:
    openai.status = 500
    answer = await begin(await Visitor().sign_in(await user_of("alice")))
    assert (answer.status, answer.code) == (500, "server_error")


async def test_secrets_are_counted_like_messages_but_apart_from_them(
    openai: _Sessions, settings: Any
) -> None:
    settings.CHATKIT_RATE_LIMIT = "2/h"
    alice = await Visitor().sign_in(await user_of("alice"))
    assert [(await begin(alice)).status for _ in range(3)] == [200, 200, 429]
    refused = await begin(alice)
    assert refused.code == "rate_limited"
    assert int(refused.headers["Retry-After"]) > 0
    assert len(openai.asked) == 2
    assert (await begin(await Visitor().sign_in(await user_of("bob")))).status == 200
    dictated = await alice.ask("attachments.create", name="a", size=0, mime_type="text/plain")
    assert dictated.status == 400


async def test_it_has_its_lines_in_the_log_and_the_secret_is_in_none(
    openai: _Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    alice = await Visitor().sign_in(await user_of("alice"))
    caplog.set_level("DEBUG")
    await begin(alice)
    lines = [each for each in caplog.records if each.name.endswith(".access_log")]
    assert [each.message for each in lines] == ["chat in", "chat out"]
    fields = lines[1].fields  # type: ignore[attr-defined]
    assert (fields["operation"], fields["status"]) == ("hosted.session", 200)
    assert fields["user"].startswith("user:")
    told = [f"{each.getMessage()} {vars(each)}" for each in caplog.records if each.levelno >= 20]
    assert not any("ek_secret" in each for each in told)
