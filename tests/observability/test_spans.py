"""What fails in a turn is in the log: by its type, in one line, without a word of the visitor's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.agents import AgentContext, simple_to_agent_input, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import ThreadItem, ThreadMetadata, ThreadStreamEvent, UserMessageItem

from observability import instrument, spans, turns
from observability.json_log import JSONFormatter, LineFormatter
from observability.logs import NoExceptionTextFilter
from observability.models import Turn

from .test_instrumentation import Context, MemoryStore
from .test_instrumentation import ask as begin

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "the-visitor's-own-words"


class Lost(Exception):
    """What a tool, a store or a model raises here."""


@function_tool
def forgiving(text: str) -> str:
    """A tool whose failure the SDK tells the model."""
    raise Lost(text)


@function_tool(failure_error_function=None)
def strict(text: str) -> str:
    """A tool whose failure ends the run."""
    raise Lost(text)


@function_tool(failure_error_function=lambda _context, error: str(error))
def frank(text: str) -> str:
    """A tool whose failure is told in its own words."""
    raise Lost(text)


@function_tool
def sound(text: str) -> str:
    """A tool that does not fail."""
    return text


class Server(ChatKitServer[Context]):
    """Has the model call a tool, as any site's server may."""

    def __init__(self, *steps: Any, noting: bool = False, store: MemoryStore | None = None) -> None:
        super().__init__(store or MemoryStore())
        self._model = ScriptedModel(list(steps))
        formatter = spans.note_tool_error if noting else None
        self._config = RunConfig(tool_error_formatter=formatter)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Context
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        run = Runner.run_streamed(
            Agent(name="a", model=self._model, tools=[forgiving, strict, frank, sound]),
            await simple_to_agent_input(input_user_message),
            run_config=self._config,
        )
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        async for event in stream_agent_response(agent_context, run):
            yield event


class ForgetfulStore(MemoryStore):
    """Fails where an answer is to be kept."""

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        if item.type == "assistant_message":
            raise Lost(SECRET)
        await super().add_thread_item(thread_id, item, context)


async def ask(server: Server) -> None:
    """One turn, to its end."""
    async for _event in begin(instrument(server), SECRET):
        pass
    # Of a turn whose store failed the SDK lets go; the event loop closes it a little later.
    async with asyncio.timeout(10):
        while turns._live:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)


def calling(tool: str) -> tuple[Any, Any]:
    """The steps of a model that calls a tool once, then answers."""
    call = function_call(tool, {"text": SECRET}, call_id="call_1")
    return [call], [assistant_message("Done.", item_id="msg_1")]


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines at WARNING and above, as production writes them: with its filter and formatter."""
    chosen = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(NoExceptionTextFilter().filter(record) for record in chosen)
    lines = [JSONFormatter().format(record) for record in chosen]
    for line in (*lines, *map(LineFormatter().format, chosen)):
        assert SECRET not in line
    return lines


@pytest.mark.parametrize(
    ("tool", "noting", "error"),
    [
        ("forgiving", True, "Lost"),
        ("forgiving", False, "an error that was handled"),
        ("frank", False, "an error that was handled"),
        ("strict", False, "Lost"),
    ],
)
async def test_a_tool_that_fails_is_one_warning(
    caplog: pytest.LogCaptureFixture, tool: str, noting: bool, error: str
) -> None:
    await ask(Server(*calling(tool), noting=noting))
    turn = await Turn.objects.aget()
    (told,) = (record for record in caplog.records if record.name == "observability.spans")
    assert told.levelname == "WARNING"
    assert told.fields == {"turn": turn.trace_id, "tool": tool, "error": error}  # type: ignore[attr-defined]
    assert turn.status == ("failed" if tool == "strict" else "completed")
    written(caplog)
    assert not spans.processor._tool_errors


async def test_a_tool_that_works_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    await ask(Server(*calling("sound"), noting=True))
    assert written(caplog) == []


async def test_a_model_that_fails_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    await ask(Server(Lost(SECRET)))
    (line,) = written(caplog)
    assert '"level": "ERROR"' in line
    assert "Lost, most recent call last" in line
    assert (await Turn.objects.aget()).error_code == "Lost"


async def test_a_store_that_fails_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    answer = [assistant_message("Done.", item_id="msg_1")]
    await ask(Server(answer, store=ForgetfulStore()))
    (line,) = written(caplog)
    assert '"level": "ERROR"' in line
    assert "Lost, most recent call last" in line
