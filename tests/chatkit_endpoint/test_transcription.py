"""Dictation, through OpenAI's audio API: here a stand-in that speaks its HTTP."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from chatkit.types import TranscriptionResult

from chatkit_endpoint import assistant

from .visitors import Answer, Visitor, user_of

pytestmark = pytest.mark.django_db(transaction=True)


class _Audio(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[tuple[str, bytes]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: _Audio

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, form))
        body: Any = {"text": "Good morning."}
        if self.server.status != 200:
            body = {"error": {"message": "no", "type": "x", "param": None, "code": "y"}}
        content = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-should-retry", "false")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name it has there)
        pass


@pytest.fixture
async def openai(settings: Any) -> AsyncIterator[_Audio]:
    assistant._client.cache_clear()
    server = _Audio()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    settings.OPENAI_API_KEY = "a-key"
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
    yield server
    await assistant.openai_client().close()
    assistant._client.cache_clear()
    server.shutdown()
    server.server_close()
    thread.join(5)


async def dictate(mime_type: str, audio: str = base64.b64encode(b"sound").decode()) -> Answer:
    visitor = await Visitor().sign_in(await user_of("alice"))
    return await visitor.ask("input.transcribe", audio_base64=audio, mime_type=mime_type)


@pytest.mark.parametrize(
    ("mime_type", "name"),
    [
        ("audio/webm;codecs=opus", "speech.webm"),
        ("audio/ogg", "speech.ogg"),
        ("audio/mp4", "speech.mp4"),
    ],
)
async def test_speech_becomes_text(
    openai: _Audio, settings: Any, mime_type: str, name: str
) -> None:
    settings.CHATKIT_TRANSCRIPTION_MODEL = "some-model"
    answer = await dictate(mime_type)
    assert answer.status == 200
    assert TranscriptionResult.model_validate_json(answer.body).text == "Good morning."
    ((path, form),) = openai.heard
    assert path == "/v1/audio/transcriptions"
    assert b"\r\n\r\nsome-model\r\n" in form
    assert f'filename="{name}"'.encode() in form
    assert b"\r\n\r\nsound\r\n" in form


async def test_without_a_key_there_is_no_dictation() -> None:
    answer = await dictate("audio/webm")
    assert (answer.status, answer.code) == (501, "not_supported")
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("mime_type", "audio"),
    [
        ("audio/x-ms-wma", "c291bmQ="),
        ("text/html", "c291bmQ="),
        ("", "c291bmQ="),
        ("audio/webm", ""),
        ("audio/webm", "c291b"),
    ],
)
async def test_what_is_no_recording_is_not_sent_on(
    openai: _Audio, mime_type: str, audio: str
) -> None:
    answer = await dictate(mime_type, audio)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert openai.heard == []


async def test_a_recording_that_openai_can_not_read_is_a_bad_request(openai: _Audio) -> None:
    openai.status = 400
    assert (await dictate("audio/webm")).status == 400


async def test_a_failure_of_openai_is_ours(openai: _Audio) -> None:
    openai.status = 500
    answer = await dictate("audio/webm")
    assert (answer.status, answer.code) == (500, "server_error")


async def test_a_recording_is_no_larger_than_a_body_may_be(openai: _Audio, settings: Any) -> None:
    settings.CHATKIT_MAX_BODY_BYTES = 1000
    answer = await dictate("audio/webm", "A" * 1000)
    assert answer.status == 413
    assert openai.heard == []
