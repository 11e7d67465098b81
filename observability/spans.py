"""What the Agents SDK tells about a turn's work, through its public tracing interface.

A turn makes itself the SDK's current trace, so that every span of its run carries its trace id.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agents import (
    AgentsException,
    ToolErrorFormatterArgs,
    Trace,
    add_trace_processor,
    set_trace_processors,
    trace,
)
from agents.tracing import (
    AgentSpanData,
    FunctionSpanData,
    GenerationSpanData,
    GuardrailSpanData,
    HandoffSpanData,
    MCPListToolsSpanData,
    ResponseSpanData,
    SpanError,
    TaskSpanData,
    TracingProcessor,
    TurnSpanData,
    get_current_span,
)
from agents.tracing import Span as SdkSpan

from .conf import conf
from .recorder import TurnRecorder
from .span_log import Kind, Span, Text, describe, text_of

logger = logging.getLogger(__name__)

_PREFIX = "trace_"
_HANDLED = "an error that was handled"
"""Its type is known only to a run with :func:`note_tool_error`."""


class TurnProcessor(TracingProcessor):
    """Adds each finished step of a run to the turn that it belongs to, with its tokens, and says
    which tool failed in it. What fails in here costs a turn nothing but its spans.
    """

    def __init__(self) -> None:
        self._live: dict[str, TurnRecorder] = {}
        self._open: dict[str, Span] = {}
        self._tool_errors: dict[str, Exception] = {}

    def watch(self, recorder: TurnRecorder) -> None:
        self._live[_PREFIX + recorder.trace_id] = recorder

    def forget(self, recorder: TurnRecorder) -> None:
        self._live.pop(_PREFIX + recorder.trace_id, None)

    def note_tool_error(self, span: SdkSpan[Any], error: Exception) -> None:
        """Keep what kind of error a tool had, until its span ends."""
        if span.trace_id in self._live:
            self._tool_errors[span.span_id] = error

    def on_trace_start(self, trace: Trace) -> None: ...

    def on_trace_end(self, trace: Trace) -> None: ...

    def on_span_start(self, span: SdkSpan[Any]) -> None:
        recorder = self._live.get(span.trace_id)
        if recorder is not None:
            with _harmless():
                self._begin(recorder, span)

    def on_span_end(self, span: SdkSpan[Any]) -> None:
        ours = self._open.pop(span.span_id, None)
        error = self._tool_errors.pop(span.span_id, None)
        recorder = self._live.get(span.trace_id)
        if recorder is not None:
            with _harmless():
                self._end(recorder, span, ours, _raised() or error)

    def _begin(self, recorder: TurnRecorder, span: SdkSpan[Any]) -> None:
        data, parent_id = span.span_data, span.parent_id or ""
        if isinstance(data, TaskSpanData | TurnSpanData):
            recorder.spans.pass_over(span.span_id, parent_id)
            return
        kind = next((kind for kind, types in _KINDS.items() if isinstance(data, types)), Kind.OTHER)
        name = str(getattr(data, "name", "") or data.type)
        self._open[span.span_id] = recorder.spans.begin(
            kind, name, id=span.span_id, parent_id=parent_id
        )

    def _end(
        self,
        recorder: TurnRecorder,
        span: SdkSpan[Any],
        ours: Span | None,
        error: BaseException | None,
    ) -> None:
        data = span.span_data
        if isinstance(data, ResponseSpanData | GenerationSpanData):
            recorder.usage.model = _model_of(data) or recorder.usage.model
            if data.usage:
                recorder.usage.add(**_tokens(data.usage))
        if isinstance(data, FunctionSpanData) and span.error is not None:
            kind = type(error).__name__ if error is not None else _HANDLED
            _tell_tool_error(recorder.trace_id, data.name, kind)
        if ours is not None:
            ours.end_tick = time.perf_counter()
            ours.attributes = _attributes(data)
            if isinstance(data, ResponseSpanData | GenerationSpanData):
                ours.name = recorder.usage.model or ours.name
            if span.error is not None:
                ours.error = _error(span.error, error)

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


_KINDS: dict[Kind, tuple[type, ...]] = {
    Kind.AGENT: (AgentSpanData,),
    Kind.MODEL: (ResponseSpanData, GenerationSpanData),
    Kind.TOOL: (FunctionSpanData, MCPListToolsSpanData),
    Kind.HANDOFF: (HandoffSpanData,),
    Kind.GUARDRAIL: (GuardrailSpanData,),
}


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # By its type: the text of an exception may quote anything.
        logger.error("A span was not kept: %s", type(error).__name__)


def _attributes(data: Any) -> dict[str, Any]:
    """What a span tells beyond its name. What models are told and say is in the messages."""
    match data:
        case FunctionSpanData():
            texts = {"input": data.input, "output": data.output}
            return {name: text_of(str(text)) for name, text in texts.items() if text is not None}
        case ResponseSpanData() | GenerationSpanData():
            tokens = _tokens(data.usage or {})
            return {name: count for name, count in tokens.items() if count is not None}
        case AgentSpanData():
            return {"tools": list(data.tools or []), "handoffs": list(data.handoffs or [])}
        case HandoffSpanData():
            return {"from": data.from_agent or "", "to": data.to_agent or ""}
        case GuardrailSpanData():
            return {"triggered": data.triggered}
        case _:
            return {}


def _error(told: SpanError, error: BaseException | None) -> dict[str, str | Text]:
    if error is not None:
        return describe(error)
    data = told.get("data") or {}
    return {"message": text_of(str(data.get("error") or told["message"]))}


def note_tool_error(args: ToolErrorFormatterArgs[Any]) -> None:
    """For ``RunConfig.tool_error_formatter``: has the log name the type of an error that the SDK
    answers to the model, and that its spans keep to themselves. What the model is told stays.
    """
    span = get_current_span()
    if args.error is not None and span is not None:
        processor.note_tool_error(span, args.error)


def _tell_tool_error(trace_id: str, tool: str, error: str) -> None:
    # No text of the error, nor what the tool was called with: both may quote a visitor.
    fields = {"turn": trace_id, "tool": tool, "error": error}
    logger.warning("A tool failed.", extra={"fields": fields})


def _raised() -> BaseException | None:
    """A tool's error that ends the run; None where the span ends in peace."""
    error = sys.exception()
    return error.__cause__ or error if isinstance(error, AgentsException) else None


def _model_of(data: ResponseSpanData | GenerationSpanData) -> str:
    if isinstance(data, GenerationSpanData):
        return data.model or ""
    return str(data.response.model) if data.response is not None else ""


def _tokens(usage: dict[str, Any]) -> dict[str, int | None]:
    """Both spellings: that of the Responses API and that of chat completions."""
    read = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
    written = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage.get("input_tokens", usage.get("prompt_tokens")),
        "cached_tokens": read.get("cached_tokens"),
        "output_tokens": usage.get("output_tokens", usage.get("completion_tokens")),
        "reasoning_tokens": written.get("reasoning_tokens"),
    }


processor = TurnProcessor()
_install_lock = threading.Lock()
_installed = False


def install_processor() -> None:
    """Listen to the Agents SDK, once per process, in place of its export to OpenAI.

    A setting keeps the export. A site's own trace processors are to be added after this.
    """
    global _installed
    with _install_lock:
        if _installed:
            return
        if conf().observability_export_to_openai:
            add_trace_processor(processor)
        else:
            set_trace_processors([processor])
        _installed = True


def start_trace(recorder: TurnRecorder) -> Trace:
    """Make the turn the SDK's current trace in this context. :func:`end_trace` ends it."""
    processor.watch(recorder)
    current = trace(
        "chatkit turn", trace_id=_PREFIX + recorder.trace_id, group_id=recorder.thread_id
    )
    current.start(mark_as_current=True)
    return current


def end_trace(recorder: TurnRecorder, current: Trace, *, same_context: bool) -> None:
    """The turn is over. ``same_context`` is false where a generator is closed from elsewhere."""
    current.finish(reset_current=same_context)
    processor.forget(recorder)
