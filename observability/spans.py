"""What the Agents SDK tells about a turn's work, through its public tracing interface.

A turn makes itself the SDK's current trace, so that every span of its run carries its trace id.
"""

from __future__ import annotations

import threading
from typing import Any

from agents import Trace, add_trace_processor, set_trace_processors, trace
from agents.tracing import (
    GenerationSpanData,
    ResponseSpanData,
    Span,
    TracingProcessor,
)

from .conf import conf
from .recorder import TurnRecorder, Usage

_PREFIX = "trace_"


class UsageProcessor(TracingProcessor):
    """Adds the tokens of each finished model call to the turn that it belongs to."""

    def __init__(self) -> None:
        self._live: dict[str, Usage] = {}

    def watch(self, recorder: TurnRecorder) -> None:
        self._live[_PREFIX + recorder.trace_id] = recorder.usage

    def forget(self, recorder: TurnRecorder) -> None:
        self._live.pop(_PREFIX + recorder.trace_id, None)

    def on_trace_start(self, trace: Trace) -> None: ...

    def on_trace_end(self, trace: Trace) -> None: ...

    def on_span_start(self, span: Span[Any]) -> None: ...

    def on_span_end(self, span: Span[Any]) -> None:
        usage = self._live.get(span.trace_id)
        data = span.span_data
        if usage is None or not isinstance(data, ResponseSpanData | GenerationSpanData):
            return
        usage.model = _model_of(data) or usage.model
        if data.usage:
            usage.add(**_tokens(data.usage))

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


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


processor = UsageProcessor()
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
