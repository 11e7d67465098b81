"""OTLP: what a turn is as spans, and how a collector's answers are understood."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pytest_django import Settings

from observability import otlp, otlp_spans
from observability.courier import Courier
from observability.models import Delivery, Turn, TurnSpans
from observability.otlp import parse_headers
from observability.span_log import Kind, SpanLog
from tests.observability.helpers import STARTED, add_message, enqueue, make_turn
from tests.standins.anosys import Answer
from tests.standins.otlp import OTLPStandin, attributes, otlp_standin, partial_success

State = Delivery.State
CANARY = "canary-7f3a"
STARTED_NS = 1_795_262_400_000_000_000

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
        "id": "s0",
        "parent_id": "request",
        "kind": "store",
        "name": "save_thread",
        "start_ms": 1.5,
        "duration_ms": 2.5,
    },
    {
        "id": "span_agent",
        "parent_id": "request",
        "kind": "agent",
        "name": "Concierge",
        "start_ms": 10.0,
        "duration_ms": 1900.0,
        "attributes": {"tools": ["clock"], "handoffs": []},
    },
    {
        "id": "span_model_1",
        "parent_id": "span_agent",
        "kind": "model",
        "name": "gpt-5-mini",
        "start_ms": 20.0,
        "duration_ms": 300.0,
        "attributes": {"input_tokens": 10, "cached_tokens": 4, "output_tokens": 3},
    },
    {
        "id": "span_tool",
        "parent_id": "span_agent",
        "kind": "tool",
        "name": "clock",
        "start_ms": 330.0,
        "duration_ms": 20.0,
        "attributes": {"input": f'{{"q": "{CANARY}"}}', "output": f"{CANARY} o'clock"},
        "error": {"type": "ValueError", "message": f"no {CANARY}", "where": "clock.py:3 in now"},
    },
    {
        "id": "span_model_2",
        "parent_id": "span_agent",
        "kind": "model",
        "name": "gpt-5-mini",
        "start_ms": 360.0,
        "duration_ms": 1500.0,
        "attributes": {"input_tokens": 20, "output_tokens": 30, "reasoning_tokens": 5},
    },
]


@pytest.fixture(autouse=True)
def standin(settings: Settings) -> Iterator[OTLPStandin]:
    with otlp_standin() as standin:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = standin.url
        settings.OTEL_EXPORTER_OTLP_HEADERS = "authorization=Bearer%20a%2Ctoken, x-project=chat"
        yield standin


@pytest.fixture
def courier() -> Iterator[Courier]:
    courier = Courier()
    yield courier
    courier.close()


def make_traced_turn(**fields: Any) -> Turn:
    turn = make_turn(
        **{
            "operation": "threads.create",
            "model": "gpt-5-mini",
            "locale": "de",
            "request_id": "req-1",
            "prompt": f"What is {CANARY}?",
            "response": f"{CANARY} is noon.",
            "ttfp_ms": 50,
            "ttft_ms": 500,
            "duration_ms": 1500,
            "total_ms": 2000,
            "input_tokens": 30,
            "output_tokens": 33,
            "cost_usd": Decimal("0.001234"),
            **fields,
        }
    )
    add_message(turn, "prompt", turn.prompt)
    add_message(turn, "thought", f"Hm, {CANARY}.")
    add_message(turn, "response", turn.response)
    return turn


def make_steps(turn: Turn, steps: list[dict[str, Any]] = STEPS) -> None:
    TurnSpans.objects.create(turn=turn, spans=steps)


def deliver(turn: Turn, courier: Courier, standin: OTLPStandin) -> dict[str, Span]:
    """The spans that the collector got, by the ids that the steps have here."""
    enqueue(turn)
    courier.deliver()
    assert Delivery.objects.get().state == State.DELIVERED
    names = {otlp_spans.span_id(turn.trace_id, step["id"]): step["id"] for step in STEPS}
    return {names[span.span_id]: span for span in standin.spans}


@pytest.mark.django_db
class TestSpans:
    def test_each_step_is_a_span_of_the_turn_s_trace_below_its_parent(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn()
        make_steps(turn)
        spans = deliver(turn, courier, standin)
        assert list(spans) == [step["id"] for step in STEPS]
        assert {span.trace_id.hex() for span in spans.values()} == {turn.trace_id}
        assert {len(span.span_id) for span in spans.values()} == {8}
        assert spans["request"].parent_span_id == b""
        for step in STEPS[1:]:
            assert spans[step["id"]].parent_span_id == spans[step["parent_id"]].span_id

    def test_two_turns_have_different_span_ids(self) -> None:
        assert otlp_spans.span_id("a" * 32, "s0") != otlp_spans.span_id("b" * 32, "s0")

    def test_times_are_nanoseconds_from_the_request_s_arrival(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn(started_at=STARTED + timedelta(microseconds=123_457))
        make_steps(turn)
        spans = deliver(turn, courier, standin)
        begun = STARTED_NS + 123_457_000
        told = spans["request"]
        assert (told.start_time_unix_nano, told.end_time_unix_nano) == (begun, begun + 2 * 10**9)
        told = spans["s0"]
        assert told.start_time_unix_nano == begun + 1_500_000
        assert told.end_time_unix_nano == begun + 4_000_000

    def test_names_and_kinds_follow_the_conventions(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn()
        make_steps(turn)
        spans = deliver(turn, courier, standin)
        assert {id: (span.name, span.kind) for id, span in spans.items()} == {
            "request": ("invoke_workflow chatkit", Span.SPAN_KIND_INTERNAL),
            "s0": ("store save_thread", Span.SPAN_KIND_INTERNAL),
            "span_agent": ("invoke_agent Concierge", Span.SPAN_KIND_INTERNAL),
            "span_model_1": ("chat gpt-5-mini", Span.SPAN_KIND_CLIENT),
            "span_tool": ("execute_tool clock", Span.SPAN_KIND_INTERNAL),
            "span_model_2": ("chat gpt-5-mini", Span.SPAN_KIND_CLIENT),
        }

    def test_the_turn_s_own_attributes(self, courier: Courier, standin: OTLPStandin) -> None:
        turn = make_traced_turn()
        make_steps(turn)
        told = attributes(deliver(turn, courier, standin)["request"])
        user = told.pop("user.id")
        assert user
        assert "user:7" not in user
        assert told == {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "chatkit",
            "gen_ai.conversation.id": "thr_1",
            "gen_ai.usage.cost": 0.001234,
            "gen_ai.response.time_to_first_chunk": 0.5,
            "langfuse.observation.completion_start_time": "2026-11-21T12:00:00.500000+00:00",
            "openinference.span.kind": "CHAIN",
            "session.id": "session-1",
            "chatkit.operation": "threads.create",
            "chatkit.status": "completed",
            "chatkit.locale": "de",
            "chatkit.request_id": "req-1",
            "chatkit.ttfp_ms": 50,
            "chatkit.duration_ms": 1500,
        }
        assert attributes(standin.resource_spans.resource) == {"service.name": "chatkit"}

    def test_a_model_s_tokens_and_the_first_token_are_where_they_belong(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn()
        make_steps(turn)
        spans = deliver(turn, courier, standin)
        first, second = attributes(spans["span_model_1"]), attributes(spans["span_model_2"])
        assert first["gen_ai.operation.name"] == "chat"
        assert first["gen_ai.provider.name"] == "openai"
        assert first["gen_ai.request.model"] == first["gen_ai.response.model"] == "gpt-5-mini"
        assert first["openinference.span.kind"] == "LLM"
        assert first["session.id"] == "session-1"
        assert first["gen_ai.usage.input_tokens"] == 10
        assert first["gen_ai.usage.cache_read.input_tokens"] == 4
        assert first["gen_ai.usage.output_tokens"] == 3
        assert "gen_ai.usage.reasoning.output_tokens" not in first
        assert second["gen_ai.usage.reasoning.output_tokens"] == 5
        # The visitor saw the first text while the second model spoke, 140 ms after it was asked.
        assert "gen_ai.response.time_to_first_chunk" not in first
        assert second["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.14)
        moment = "2026-11-21T12:00:00.500000+00:00"
        assert second["langfuse.observation.completion_start_time"] == moment

    def test_a_turn_without_stored_spans_is_one_span_with_its_figures(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        spans = deliver(make_traced_turn(total_ms=None), courier, standin)
        told = attributes(spans["request"])
        assert told["gen_ai.request.model"] == "gpt-5-mini"
        assert told["gen_ai.usage.input_tokens"] == 30
        assert told["gen_ai.usage.cost"] == 0.001234
        # As long as the clock on the wall says.
        assert spans["request"].end_time_unix_nano == STARTED_NS + 2 * 10**9

    def test_what_the_span_log_writes_is_understood(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn(model="")
        log = SpanLog()
        with log.step(Kind.STORE, "save_item"):
            agent = log.begin(Kind.AGENT, "Concierge", id="span_agent")
        log.begin(Kind.MODEL, "response", parent_id=agent.id)
        make_steps(turn, log.export(operation="threads.create", total_ms=9, is_error=False))
        enqueue(turn)
        courier.deliver()
        names = [span.name for span in standin.spans]
        assert names == [
            "invoke_workflow chatkit",
            "store save_item",
            "invoke_agent Concierge",
            "chat",
        ]
        root, store, agent_span, model = standin.spans
        assert model.parent_span_id == agent_span.span_id
        assert store.parent_span_id == root.span_id
        told = attributes(model)
        assert told["chatkit.unfinished"] is True
        assert "gen_ai.request.model" not in told
        assert "chatkit.unfinished" not in attributes(store)

    def test_the_cost_of_a_turn_with_one_model_is_that_model_s(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn()
        make_steps(turn, STEPS[:4])
        spans = deliver(turn, courier, standin)
        assert attributes(spans["span_model_1"])["gen_ai.usage.cost"] == 0.001234
        assert "gen_ai.usage.cost" not in attributes(spans["request"])

    @pytest.mark.parametrize(
        ("status", "error_code", "error_type"),
        [
            ("failed", "stream.error", "stream.error"),
            ("interrupted", "", "interrupted"),
            ("cancelled", "", "cancelled"),
        ],
    )
    def test_a_turn_that_did_not_succeed_is_an_error(
        self,
        courier: Courier,
        standin: OTLPStandin,
        status: str,
        error_code: str,
        error_type: str,
    ) -> None:
        turn = make_traced_turn(status=status, error_code=error_code, error_message=CANARY)
        make_steps(turn)
        span = deliver(turn, courier, standin)["request"]
        assert span.status == Status(code=Status.STATUS_CODE_ERROR, message=error_type)
        told = attributes(span)
        assert (told["error.type"], told["chatkit.status"]) == (error_type, status)

    def test_a_tool_that_failed_is_an_error_and_the_others_are_not(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn()
        make_steps(turn)
        spans = deliver(turn, courier, standin)
        tool = spans.pop("span_tool")
        assert tool.status == Status(code=Status.STATUS_CODE_ERROR, message="ValueError")
        assert attributes(tool)["error.type"] == "ValueError"
        assert {span.status.code for span in spans.values()} == {Status.STATUS_CODE_UNSET}


@pytest.mark.django_db
class TestContent:
    def test_without_being_asked_for_none_leaves(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        turn = make_traced_turn(status="failed", error_code="x", error_message=CANARY)
        make_steps(turn)
        deliver(turn, courier, standin)
        assert CANARY.encode() not in standin.posts[0].body

    def test_what_was_said_is_on_the_turn_in_both_spellings(
        self, courier: Courier, standin: OTLPStandin, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_OTLP_TEXT = "redacted"
        turn = make_traced_turn()
        make_steps(turn)
        told = attributes(deliver(turn, courier, standin)["request"])
        assert (told["input.value"], told["output.value"]) == (turn.prompt, turn.response)
        assert json.loads(told["gen_ai.input.messages"]) == [
            {"role": "user", "parts": [{"type": "text", "content": turn.prompt}]}
        ]
        assert json.loads(told["gen_ai.output.messages"]) == [
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": f"Hm, {CANARY}."},
                    {"type": "text", "content": turn.response},
                ],
                "finish_reason": "stop",
            }
        ]

    def test_what_a_tool_was_handed_and_returned_and_complained_of(
        self, courier: Courier, standin: OTLPStandin, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_OTLP_TEXT = "redacted"
        turn = make_traced_turn()
        make_steps(turn)
        tool = deliver(turn, courier, standin)["span_tool"]
        told = attributes(tool)
        known = STEPS[4]["attributes"]
        assert told["gen_ai.tool.call.arguments"] == told["input.value"] == known["input"]
        assert told["gen_ai.tool.call.result"] == told["output.value"] == known["output"]
        assert tool.status.message == f"no {CANARY}"

    def test_personal_data_is_masked(
        self, courier: Courier, standin: OTLPStandin, settings: Settings
    ) -> None:
        settings.OBSERVABILITY_OTLP_TEXT = "redacted"
        turn = make_traced_turn(prompt="Write to vera@example.com")
        deliver(turn, courier, standin)
        assert b"vera@example.com" not in standin.posts[0].body
        assert b"Write to " in standin.posts[0].body

    def test_half_a_character_does_not_hold_the_trace_up(
        self, courier: Courier, standin: OTLPStandin, settings: Settings
    ) -> None:
        if connection.vendor == "postgresql":
            pytest.skip("PostgreSQL’s JSON can’t hold one.")
        settings.OBSERVABILITY_OTLP_TEXT = "redacted"
        turn = make_traced_turn()
        step = {**STEPS[4], "name": "clo\ud800ck", "attributes": {"input": "\ud800", "output": ""}}
        make_steps(turn, [STEPS[0], step])
        told = attributes(deliver(turn, courier, standin)["span_tool"])
        assert (told["gen_ai.tool.name"], told["input.value"]) == ("clo?ck", "?")


@pytest.mark.django_db
class TestSending:
    def test_it_is_protobuf_with_the_operator_s_headers(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        deliver(make_traced_turn(), courier, standin)
        [post] = standin.posts
        assert post.path == "/v1/traces"
        assert post.headers["content-type"] == "application/x-protobuf"
        assert post.headers["authorization"] == "Bearer a,token"
        assert post.headers["x-project"] == "chat"

    def test_an_endpoint_may_end_with_a_slash(
        self, courier: Courier, standin: OTLPStandin, settings: Settings
    ) -> None:
        settings.OTEL_EXPORTER_OTLP_ENDPOINT = f"{standin.url}/"
        deliver(make_traced_turn(), courier, standin)

    def test_what_was_purged_is_not_sent(self, courier: Courier, standin: OTLPStandin) -> None:
        turn = make_traced_turn()
        enqueue(turn)
        Turn.objects.update(text_purged_at=Now())
        courier.deliver()
        assert Delivery.objects.get().state == State.PURGED
        assert standin.posts == []

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            *((status, State.DELIVERED) for status in (200, 202)),
            *((status, State.PENDING) for status in (429, 502, 503, 504, 307)),
            *((status, State.DEAD) for status in (400, 401, 404, 408, 413, 415, 500, 501)),
        ],
    )
    def test_what_an_answer_means(
        self, courier: Courier, standin: OTLPStandin, status: int, state: str
    ) -> None:
        enqueue(make_traced_turn())
        standin.answer(Answer(status=status, headers={"Location": "/elsewhere"}))
        courier.deliver()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_status) == (state, status)
        assert len(standin.posts) == 1

    def test_spans_that_a_collector_rejects_are_counted_and_not_sent_again(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        standin.answer(partial_success(2, f"you sent {CANARY}"))
        enqueue(make_traced_turn())
        courier.deliver()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_error) == (
            State.DELIVERED,
            "2 spans were rejected",
        )

    def test_an_answer_that_is_no_protobuf_is_as_good(
        self, courier: Courier, standin: OTLPStandin
    ) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        standin.answer(Answer(body=b"\xff\xff\xff", headers=headers))
        enqueue(make_traced_turn())
        courier.deliver()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.last_error) == (State.DELIVERED, "")

    def test_without_the_packages_turns_wait_uncounted_and_it_is_said(
        self,
        courier: Courier,
        standin: OTLPStandin,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(otlp, "is_installed", lambda: False)
        enqueue(make_traced_turn())
        assert courier.deliver() == 0
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts) == (State.PENDING, 0)
        assert "[otel]" in caplog.text

    def test_neither_credentials_nor_text_are_logged(
        self,
        courier: Courier,
        standin: OTLPStandin,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        settings.OBSERVABILITY_OTLP_TEXT = "redacted"
        caplog.set_level("DEBUG")
        enqueue(make_traced_turn())
        standin.answer(Answer(drop=True))
        courier.deliver()
        assert "Deliveries to otlp wait" in caplog.text
        assert "a,token" not in caplog.text
        assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        (" a = b , c=d%3D%2C ", {"a": "b", "c": "d=,"}),
        ("a=b=c,,=x", {"a": "b=c"}),
        ("authorization=Basic%20cGs6c2s=", {"authorization": "Basic cGs6c2s="}),
    ],
)
def test_headers_are_read_as_the_specification_says(value: str, headers: dict[str, str]) -> None:
    assert parse_headers(value) == headers
