"""The model that answers where no key is set: deterministic, offline, and honest about what it is.

It thinks, streams its answer word by word, and calls the tool ``current_time`` when it is asked
for the time. Three prompts make it misbehave on purpose: ``/error`` fails, ``/long`` writes on
until it is stopped, ``/slow`` waits before it begins.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    Tool,
    TResponseInputItem,
    Usage,
    generation_span,
)
from agents.items import TResponseStreamEvent
from agents.testing import function_call
from django.utils.translation import gettext as _
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseReasoningSummaryTextDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response_reasoning_item import Summary
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

NAME = "demo"
SECONDS_PER_WORD = 0.02
SLOW_SECONDS = 3.0
LONG_WORDS = 3000

_TIME_ZONES = {
    "berl[ií]n|ベルリン|برلين": "Europe/Berlin",
    "lond(on|res)|ロンドン|لندن": "Europe/London",
    "(new|nueva|nova) york|ニューヨーク|نيويورك": "America/New_York",
    "t[oó](ky|ki|qui)o|東京|طوكيو": "Asia/Tokyo",
}
_ASKS_TIME = re.compile(
    r"\b(time|clock|date|uhr|uhrzeit|spät|datum|heure|horas?|fecha)\b|何時|時刻|日付|الساعة|التاريخ",
    re.IGNORECASE,
)


class DemoModelError(Exception):
    """What ``/error`` makes the model raise."""


class DemoModel(Model):
    """Plays a Responses model through the Agents SDK's ``Model`` interface."""

    model = NAME

    def __init__(self, seconds_per_word: float = SECONDS_PER_WORD) -> None:
        self._seconds_per_word = seconds_per_word

    def decide(
        self, input: str | list[TResponseInputItem], tools: list[Tool]
    ) -> tuple[list[ResponseOutputItem], ResponseUsage]:
        """What to answer, and what that would have cost in words."""
        prompt = _last_prompt(input)
        if "/error" in prompt:
            raise DemoModelError("The demo model was asked to fail.")
        tool_result = _tool_result(input)
        output: list[ResponseOutputItem]
        if (
            tool_result is None
            and _ASKS_TIME.search(prompt)
            and any(tool.name == "current_time" for tool in tools)
        ):
            thought = _("They want to know the time. I have a tool for that.")
            output = [
                reasoning(thought),
                function_call(
                    "current_time",
                    {"time_zone": _time_zone(prompt)},
                    call_id=_id("call"),
                    item_id=_id("fc"),
                ),
            ]
        else:
            thought = _("I am only a demo, so I should answer shortly and say what I am.")
            output = [reasoning(thought), answer(_text(prompt, tool_result))]
        words_in = len(str(input).split())
        words_thought = len(thought.split())
        words_out = words_thought + (len(str(output[-1]).split()))
        return output, usage_of(words_in, words_out, thought=words_thought)

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        **kwargs: Any,
    ) -> ModelResponse:
        output, usage = self.decide(input, tools)
        return ModelResponse(
            output=output,
            usage=Usage(
                requests=1,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                total_tokens=usage.total_tokens,
            ),
            response_id=None,
        )

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        **kwargs: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        with generation_span(model=NAME, disabled=tracing.is_disabled()) as span:
            if "/slow" in _last_prompt(input):
                await asyncio.sleep(SLOW_SECONDS)
            output, usage = self.decide(input, tools)
            sequence = 0
            async for event in self._events(output, usage):
                # Told before the last event: whoever reads it may stop there.
                if isinstance(event, ResponseCompletedEvent):
                    span.span_data.usage = usage.model_dump()
                event.sequence_number = sequence
                sequence += 1
                yield event

    async def _events(
        self, output: list[ResponseOutputItem], usage: ResponseUsage
    ) -> AsyncIterator[TResponseStreamEvent]:
        yield ResponseCreatedEvent(
            type="response.created", response=_response([], None), sequence_number=0
        )
        for index, item in enumerate(output):
            begun = item.model_copy(deep=True)
            if isinstance(begun, ResponseOutputMessage):
                begun.content, begun.status = [], "in_progress"
            elif isinstance(begun, ResponseReasoningItem):
                begun.summary = []
            yield ResponseOutputItemAddedEvent(
                type="response.output_item.added",
                item=begun,
                output_index=index,
                sequence_number=0,
            )
            if isinstance(item, ResponseReasoningItem):
                async for event in self._thought(item, index):
                    yield event
            elif isinstance(item, ResponseOutputMessage):
                async for event in self._message(item, index):
                    yield event
            yield ResponseOutputItemDoneEvent(
                type="response.output_item.done", item=item, output_index=index, sequence_number=0
            )
        yield ResponseCompletedEvent(
            type="response.completed", response=_response(output, usage), sequence_number=0
        )

    async def _thought(
        self, item: ResponseReasoningItem, output_index: int
    ) -> AsyncIterator[TResponseStreamEvent]:
        text = item.summary[0].text
        async for word in self._words(text):
            yield ResponseReasoningSummaryTextDeltaEvent(
                type="response.reasoning_summary_text.delta",
                item_id=item.id,
                output_index=output_index,
                summary_index=0,
                delta=word,
                sequence_number=0,
            )
        yield ResponseReasoningSummaryTextDoneEvent(
            type="response.reasoning_summary_text.done",
            item_id=item.id,
            output_index=output_index,
            summary_index=0,
            text=text,
            sequence_number=0,
        )

    async def _message(
        self, item: ResponseOutputMessage, output_index: int
    ) -> AsyncIterator[TResponseStreamEvent]:
        part = item.content[0]
        assert isinstance(part, ResponseOutputText)  # noqa: S101 (decide makes no other)
        place: dict[str, Any] = {
            "item_id": item.id,
            "output_index": output_index,
            "content_index": 0,
        }
        yield ResponseContentPartAddedEvent(
            type="response.content_part.added",
            part=ResponseOutputText(type="output_text", text="", annotations=[]),
            sequence_number=0,
            **place,
        )
        async for word in self._words(part.text):
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta",
                delta=word,
                logprobs=[],
                sequence_number=0,
                **place,
            )
        yield ResponseTextDoneEvent(
            type="response.output_text.done",
            text=part.text,
            logprobs=[],
            sequence_number=0,
            **place,
        )
        yield ResponseContentPartDoneEvent(
            type="response.content_part.done", part=part, sequence_number=0, **place
        )

    async def _words(self, text: str) -> AsyncIterator[str]:
        for word in re.findall(r"\S+\s*|\s+", text):
            await asyncio.sleep(self._seconds_per_word)
            yield word


def _time_zone(prompt: str) -> str:
    asked = prompt.lower()
    return next((zone for city, zone in _TIME_ZONES.items() if re.search(city, asked)), "UTC")


def _text(prompt: str, tool_result: str | None) -> str:
    if "/long" in prompt:
        word = _("word")
        return " ".join(f"{word} {number}" for number in range(1, LONG_WORDS // 2))
    if tool_result is not None:
        return _("I looked at the clock. It says: %(time)s") % {"time": tool_result}
    return _(
        "You said: “%(prompt)s”. I am the demo model: I run on your machine, I need no key, and I "
        "know nothing. Set OPENAI_API_KEY, and a real model answers here. Meanwhile ask me for the "
        "time, and I will look at the clock."
    ) % {"prompt": prompt}


def _last_prompt(input: str | list[TResponseInputItem]) -> str:
    if isinstance(input, str):
        return input
    for item in reversed(input):
        if item.get("role") == "user":
            content = item.get("content")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content or [])  # type: ignore[attr-defined]
    return ""


def _tool_result(input: str | list[TResponseInputItem]) -> str | None:
    if isinstance(input, str) or not input or input[-1].get("type") != "function_call_output":
        return None
    return str(input[-1].get("output"))


def reasoning(text: str) -> ResponseReasoningItem:
    return ResponseReasoningItem(
        id=_id("rs"), type="reasoning", summary=[Summary(type="summary_text", text=text)]
    )


def answer(text: str) -> ResponseOutputMessage:
    return ResponseOutputMessage(
        id=_id("msg"),
        type="message",
        role="assistant",
        status="completed",
        content=[ResponseOutputText(type="output_text", text=text, annotations=[])],
    )


def usage_of(words_in: int, words_out: int, *, thought: int = 0) -> ResponseUsage:
    """A word is a token."""
    return ResponseUsage(
        input_tokens=words_in,
        input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens=words_out,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=thought),
        total_tokens=words_in + words_out,
    )


def _response(output: list[ResponseOutputItem], usage: ResponseUsage | None) -> Response:
    return Response(
        id=_id("resp"),
        created_at=time.time(),
        model=NAME,
        object="response",
        output=output,
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=False,
        usage=usage,
    )


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
