"""A stored turn as OpenTelemetry spans, by the GenAI conventions. Wants the extra ``[otel]``.

What Langfuse, Phoenix and MLflow all read is said in each one's words: ``gen_ai.*`` by the
conventions, ``session.id`` and ``user.id``, OpenInference's kinds and ``input.value``, Langfuse's
own time of the first token. What nobody has a word for is under ``chatkit.``.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from .destinations import pseudonym
from .models import Message, Turn, TurnSpans
from .span_log import ROOT, Kind
from .text_levels import Level, Outgoing

SERVICE = "chatkit"
PROVIDER = "openai"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Attributes = dict[str, str | int | float | bool | None]


class Shape(NamedTuple):
    """What the conventions call a kind of step."""

    operation: str
    """``gen_ai.operation.name``; empty where GenAI has no word for it."""
    openinference: str
    otel: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL


_SHAPES = {
    Kind.REQUEST: Shape("invoke_workflow", "CHAIN"),
    Kind.AGENT: Shape("invoke_agent", "AGENT"),
    Kind.MODEL: Shape("chat", "LLM", Span.SPAN_KIND_CLIENT),
    Kind.TOOL: Shape("execute_tool", "TOOL"),
    Kind.GUARDRAIL: Shape("", "GUARDRAIL"),
}
_OTHER = Shape("", "CHAIN")

_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
_UNKNOWN_MODELS = frozenset({"generation", "response"})
"""What the Agents SDK calls a model's span before the model is known."""
_FINISH_REASONS: dict[str, str] = {
    Turn.Status.COMPLETED: "stop",
    Turn.Status.CANCELLED: "cancelled",
}
_PARTS: dict[str, str] = {Message.Kind.THOUGHT: "reasoning"}


def export_request(turn: Turn, outgoing: Outgoing) -> ExportTraceServiceRequest:
    """The turn as a trace. At the level of none nothing that was said, and nothing that a tool
    was handed or returned or complained of, is in it.
    """
    spans = _Trace(turn, outgoing).spans()
    scope = ScopeSpans(scope=InstrumentationScope(name="observability"), spans=spans)
    resource = Resource(attributes=_encoded({"service.name": SERVICE}))
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope])]
    )


def rejected_spans(body: bytes) -> int:
    """How many spans a collector that took the rest did not take."""
    answer = ExportTraceServiceResponse()
    try:
        answer.ParseFromString(body)
    except DecodeError:
        return 0
    return answer.partial_success.rejected_spans


def span_id(trace_id: str, id: str) -> bytes:
    """Eight bytes, the same each time: a repeated delivery makes no new span."""
    return hashlib.sha256(f"{trace_id}:{id}".encode(errors="replace")).digest()[:8]


class _Trace:
    """One turn's spans in the making."""

    def __init__(self, turn: Turn, outgoing: Outgoing) -> None:
        self._turn = turn
        self._outgoing = outgoing
        self._with_content = outgoing.level is not Level.NONE
        row = TurnSpans.objects.filter(turn=turn).first()
        # Of a turn that was not sampled, or that did not live to tell, the request itself is known.
        self._steps: list[dict[str, Any]] = row.spans if row is not None else [_request(turn)]
        self._models = [step for step in self._steps if step["kind"] == Kind.MODEL]
        self._common: Attributes = {
            "session.id": turn.session_id,
            "user.id": pseudonym(turn.owner_key),
            "gen_ai.conversation.id": turn.thread_id,
        }

    def spans(self) -> list[Span]:
        return [self._span(step) for step in self._steps]

    def _span(self, step: dict[str, Any]) -> Span:
        turn = self._turn
        start = _nanoseconds(turn.started_at) + round(step["start_ms"] * 1_000_000)
        shape = _SHAPES.get(step["kind"], _OTHER)
        is_root = step["id"] == ROOT
        error_type, error_message = self._turn_error() if is_root else self._error(step)
        told: Attributes = {
            "gen_ai.operation.name": shape.operation,
            "openinference.span.kind": shape.openinference,
            "error.type": error_type,
            **self._common,
            **(self._of_turn() if is_root else self._of_step(step)),
        }
        return Span(
            trace_id=bytes.fromhex(turn.trace_id),
            span_id=span_id(turn.trace_id, step["id"]),
            parent_span_id=b"" if is_root else span_id(turn.trace_id, step["parent_id"] or ROOT),
            name=_text(_name(step, shape)),
            kind=shape.otel,
            start_time_unix_nano=start,
            end_time_unix_nano=start + round(step["duration_ms"] * 1_000_000),
            attributes=_encoded(told),
            status=Status(
                code=Status.STATUS_CODE_ERROR if error_type else Status.STATUS_CODE_UNSET,
                message=error_message,
            ),
        )

    # -- the turn itself -----------------------------------------------------------------------

    def _of_turn(self) -> Attributes:
        turn = self._turn
        told: Attributes = {
            "gen_ai.workflow.name": SERVICE,
            "chatkit.operation": turn.operation,
            "chatkit.status": turn.status,
            "chatkit.locale": turn.locale,
            "chatkit.tenant": turn.tenant,
            "chatkit.request_id": turn.request_id,
            "chatkit.ttfp_ms": turn.ttfp_ms,
            "chatkit.duration_ms": turn.duration_ms,
            "chatkit.spans_dropped": self._steps[0].get("attributes", {}).get("spans_dropped"),
            **self._first_token(since_ms=0),
        }
        if not self._models:
            told |= self._model(turn.model) | {
                name: getattr(turn, ours) for ours, name in _USAGE.items()
            }
        if len(self._models) != 1:
            told |= self._cost()
        return told | self._conversation() if self._with_content else told

    def _turn_error(self) -> tuple[str, str]:
        """As OpenTelemetry has it, a turn that its visitor stopped did not succeed."""
        turn = self._turn
        if turn.status in (Turn.Status.COMPLETED, Turn.Status.RUNNING):
            return "", ""
        code = _text(turn.error_code or turn.status)
        return code, self._outgoing.text(turn.error_message) if self._with_content else code

    def _conversation(self) -> Attributes:
        turn = self._turn
        told: list[dict[str, str]] = []
        answered: list[dict[str, str]] = []
        for message in Message.objects.filter(turn=turn).order_by("position"):
            part = {
                "type": _PARTS.get(message.kind, "text"),
                "content": self._outgoing.text(message.text),
            }
            (told if message.kind == Message.Kind.PROMPT else answered).append(part)
        reason = _FINISH_REASONS.get(turn.status, "error")
        # Phoenix drops what has no reason to have ended.
        answer = {"role": "assistant", "parts": answered, "finish_reason": reason}
        return {
            "input.value": self._outgoing.text(turn.prompt),
            "output.value": self._outgoing.text(turn.response),
            "gen_ai.input.messages": _json([{"role": "user", "parts": told}] if told else None),
            "gen_ai.output.messages": _json([answer] if answered else None),
        }

    # -- the steps in it -----------------------------------------------------------------------

    def _of_step(self, step: dict[str, Any]) -> Attributes:
        known = step.get("attributes", {})
        told: Attributes = {"chatkit.unfinished": known.get("unfinished")}
        match step["kind"]:
            case Kind.MODEL:
                told |= self._model(_model_name(step))
                told |= {name: known.get(ours) for ours, name in _USAGE.items()}
                if self._is_first_to_speak(step):
                    told |= self._first_token(since_ms=step["start_ms"])
                if len(self._models) == 1:
                    told |= self._cost()
            case Kind.AGENT:
                told |= {"gen_ai.provider.name": PROVIDER, "gen_ai.agent.name": step["name"]}
            case Kind.TOOL:
                told |= {"gen_ai.tool.name": step["name"], "gen_ai.tool.type": "function"}
                if self._with_content:
                    told |= self._handed(known)
            case Kind.HANDOFF:
                told |= {"chatkit.handoff.from": known.get("from")}
                told |= {"chatkit.handoff.to": known.get("to")}
            case Kind.GUARDRAIL:
                told |= {"chatkit.guardrail.triggered": known.get("triggered")}
        return told

    def _error(self, step: dict[str, Any]) -> tuple[str, str]:
        if "error" not in step:
            return "", ""
        kind = _text(step["error"].get("type") or "_OTHER")
        message = step["error"].get("message", "")
        return kind, self._outgoing.text(message) if self._with_content and message else kind

    def _handed(self, known: dict[str, Any]) -> Attributes:
        given, got = (self._outgoing.text(known.get(name, "")) for name in ("input", "output"))
        return {
            "input.value": given,
            "output.value": got,
            "gen_ai.tool.call.arguments": given,
            "gen_ai.tool.call.result": got,
        }

    def _model(self, name: str) -> Attributes:
        if not name:
            return {"gen_ai.provider.name": PROVIDER}
        return {
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": name,
            "gen_ai.response.model": name,
        }

    def _cost(self) -> Attributes:
        cost = self._turn.cost_usd
        return {"gen_ai.usage.cost": None if cost is None else float(cost)}

    def _is_first_to_speak(self, step: dict[str, Any]) -> bool:
        """Whether the first text that the visitor saw came while this was the latest model."""
        ttft = self._turn.ttft_ms
        begun = [model for model in self._models if ttft is not None and model["start_ms"] <= ttft]
        return bool(begun) and step is max(begun, key=lambda model: model["start_ms"])

    def _first_token(self, *, since_ms: float) -> Attributes:
        """When the visitor saw the first text: in seconds since then, and as a moment."""
        ttft = self._turn.ttft_ms
        if ttft is None:
            return {}
        moment = self._turn.started_at + timedelta(milliseconds=ttft)
        return {
            "gen_ai.response.time_to_first_chunk": (ttft - since_ms) / 1000,
            "langfuse.observation.completion_start_time": moment.astimezone(UTC).isoformat(),
        }


def _request(turn: Turn) -> dict[str, Any]:
    total_ms = turn.total_ms
    if total_ms is None:
        lasted = (turn.ended_at or turn.started_at) - turn.started_at
        total_ms = max(0, round(lasted / timedelta(milliseconds=1)))
    return {
        "id": ROOT,
        "parent_id": "",
        "kind": Kind.REQUEST,
        "name": turn.operation,
        "start_ms": 0,
        "duration_ms": total_ms,
    }


def _name(step: dict[str, Any], shape: Shape) -> str:
    match step["kind"]:
        case Kind.REQUEST:
            return f"{shape.operation} {SERVICE}"
        case Kind.MODEL:
            return f"{shape.operation} {_model_name(step)}".strip()
        case _:
            return f"{shape.operation or step['kind']} {step['name']}"


def _model_name(step: dict[str, Any]) -> str:
    return "" if step["name"] in _UNKNOWN_MODELS else str(step["name"])


def _nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _text(text: str) -> str:
    """What protobuf takes: UTF-8."""
    return str(text).encode(errors="replace").decode()


def _encoded(attributes: Attributes) -> list[KeyValue]:
    """Without what is not known."""
    return [
        KeyValue(key=name, value=_value(value))
        for name, value in attributes.items()
        if value is not None and value != ""
    ]


def _value(value: str | float | bool) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=_text(value))
