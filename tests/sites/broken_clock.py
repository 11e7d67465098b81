"""An assistant whose clock is out of order."""

from __future__ import annotations

from agents import Agent, function_tool
from chatkit.agents import AgentContext

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.demo_model import DemoModel


@function_tool(name_override="current_time", failure_error_function=None)
def broken_clock(time_zone: str = "UTC") -> str:
    """Tell the time."""
    raise ConnectionError("The clock at clock.internal does not answer.")


def agent(context: RequestContext) -> Agent[AgentContext[RequestContext]]:
    return Agent(name="Assistant", model=DemoModel(), tools=[broken_clock])
