"""A turn that was forwarded over OTLP, as a real Arize Phoenix tells it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pytest_django import Settings

from observability import otlp_spans
from observability.courier import Courier
from observability.models import Delivery, Turn, TurnSpans
from tests.observability.helpers import add_message, enqueue, make_turn
from tests.plugins import PHOENIX
from tests.servers import wait_until

# The first of them waits for Phoenix' start as well.
pytestmark = [pytest.mark.phoenix, pytest.mark.django_db, pytest.mark.timeout(300)]

START_SECONDS = 180.0
STOP_SECONDS = 30.0
STORED_SECONDS = 60.0
"""Phoenix answers before it has stored what it was sent."""

Spans = dict[str, dict[str, Any]]
"""What Phoenix tells of each step, by the id that it has here."""

STEPS: list[dict[str, Any]] = [
    {
        "id": "request",
        "parent_id": "",
        "kind": "request",
        "name": "threads.create",
        "start_ms": 0.0,
        "duration_ms": 2000.0,
    },
    {
        "id": "agent",
        "parent_id": "request",
        "kind": "agent",
        "name": "Concierge",
        "start_ms": 10.0,
        "duration_ms": 1900.0,
    },
    {
        "id": "model",
        "parent_id": "agent",
        "kind": "model",
        "name": "gpt-5-mini",
        "start_ms": 20.0,
        "duration_ms": 300.0,
        "attributes": {
            "input_tokens": 10,
            "cached_tokens": 4,
            "output_tokens": 7,
            "reasoning_tokens": 5,
        },
    },
    {
        "id": "tool",
        "parent_id": "agent",
        "kind": "tool",
        "name": "write_to",
        "start_ms": 330.0,
        "duration_ms": 20.0,
        "attributes": {"input": '{"to": "vera@example.com"}', "output": "No vera@example.com"},
        "error": {"type": "KeyError", "message": "vera@example.com is unknown"},
    },
]


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Phoenix with a database of its own, which talks to nobody outside."""
    folder = tmp_path_factory.mktemp("phoenix")
    port, grpc_port = free_ports(2)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PHOENIX, "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            # Not what the shell has for a Phoenix of its user.
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "PYTHONUTF8": "1",
                "PHOENIX_WORKING_DIR": str(folder),
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(port),
                "PHOENIX_GRPC_PORT": str(grpc_port),
                "PHOENIX_TELEMETRY_ENABLED": "false",
                "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            },
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert process.poll() is None, f"Phoenix did not start:\n{log.read_text()[-5000:]}"
        try:
            return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, START_SECONDS, "Phoenix's start")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@pytest.fixture
def turn() -> Turn:
    turn = make_turn(
        session_id=f"session-{uuid4()}",
        operation="threads.create",
        prompt="Write to vera@example.com",
        response="I can't write to vera@example.com.",
    )
    add_message(turn, "prompt", turn.prompt)
    add_message(turn, "response", turn.response)
    TurnSpans.objects.create(turn=turn, spans=STEPS)
    return turn


@pytest.fixture
def spans(phoenix: str, turn: Turn, settings: Settings) -> Spans:
    """What Phoenix has of the turn after it was forwarded."""
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = phoenix
    settings.OBSERVABILITY_OTLP_TEXT = "redacted"
    enqueue(turn)
    courier = Courier()
    try:
        courier.deliver()
    finally:
        courier.close()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_error) == (Delivery.State.DELIVERED, "")

    def stored() -> list[dict[str, Any]]:
        found = read(f"{phoenix}/v1/projects/default/spans", trace_id=turn.trace_id)
        return found if len(found) == len(STEPS) else []

    names = {span_id(turn, step["id"]): step["id"] for step in STEPS}
    in_phoenix = wait_until(stored, STORED_SECONDS, "the trace in Phoenix")
    return {names[span["context"]["span_id"]]: span for span in in_phoenix}


def test_each_step_is_a_span_of_the_turn_s_trace_below_its_parent(turn: Turn, spans: Spans) -> None:
    assert {span["context"]["trace_id"] for span in spans.values()} == {turn.trace_id}
    assert {id: (span["name"], span["parent_id"]) for id, span in spans.items()} == {
        "request": ("invoke_workflow chatkit", None),
        "agent": ("invoke_agent Concierge", span_id(turn, "request")),
        "model": ("chat gpt-5-mini", span_id(turn, "agent")),
        "tool": ("execute_tool write_to", span_id(turn, "agent")),
    }


def test_phoenix_knows_the_kinds_of_the_steps(spans: Spans) -> None:
    assert {id: span["span_kind"] for id, span in spans.items()} == {
        "request": "CHAIN",
        "agent": "AGENT",
        "model": "LLM",
        "tool": "TOOL",
    }


def test_phoenix_counts_the_tokens_of_the_model(spans: Spans) -> None:
    told = spans["model"]["attributes"]
    assert told["llm.model_name"] == "gpt-5-mini"
    assert {name: count for name, count in told.items() if name.startswith("llm.token_count.")} == {
        "llm.token_count.prompt": 10,
        "llm.token_count.prompt_details.cache_read": 4,
        "llm.token_count.completion": 7,
        "llm.token_count.total": 17,
    }


def test_the_page_load_is_a_session_with_the_trace_in_it(
    phoenix: str, turn: Turn, spans: Spans
) -> None:
    assert {span["attributes"]["session.id"] for span in spans.values()} == {turn.session_id}
    sessions = read(f"{phoenix}/v1/projects/default/sessions")
    [session] = [each for each in sessions if each["session_id"] == turn.session_id]
    assert [trace["trace_id"] for trace in session["traces"]] == [turn.trace_id]
    assert (session["token_count_prompt"], session["token_count_completion"]) == (10, 7)


def test_what_was_said_is_there_without_personal_data(spans: Spans) -> None:
    turn, tool = spans["request"]["attributes"], spans["tool"]["attributes"]
    assert turn["input.value"] == "Write to [email]"
    assert turn["output.value"] == "I can't write to [email]."
    assert turn["llm.input_messages.0.message.content"] == "Write to [email]"
    assert turn["llm.output_messages.0.message.content"] == "I can't write to [email]."
    assert tool["input.value"] == '{"to": "[email]"}'
    assert tool["output.value"] == "No [email]"
    assert "vera@example.com" not in str(spans)


def test_the_tool_that_failed_is_an_error_and_the_others_are_not(spans: Spans) -> None:
    assert {id: span["status_code"] for id, span in spans.items()} == {
        "request": "UNSET",
        "agent": "UNSET",
        "model": "UNSET",
        "tool": "ERROR",
    }
    assert spans["tool"]["status_message"] == "[email] is unknown"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens at, each another one."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def read(url: str, **query: str) -> list[dict[str, Any]]:
    """What Phoenix' REST API tells; raises httpx.HTTPStatusError where it does not."""
    answer = httpx.get(url, params=query, timeout=30).raise_for_status()
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def span_id(turn: Turn, id: str) -> str:
    return otlp_spans.span_id(turn.trace_id, id).hex()
