"""CHATKIT_AGENT: a shop's own agent, with a tool that knows the visitor and a hand-off."""

from __future__ import annotations

from agents import Agent, RunContextWrapper, function_tool
from chatkit.agents import AgentContext

from chatkit_endpoint.assistant import build_model
from chatkit_endpoint.context import RequestContext

ORDERS = {"alice": {"17": "on its way"}, "bob": {"18": "delivered"}}


@function_tool
async def order_status(
    wrapper: RunContextWrapper[AgentContext[RequestContext]], number: str
) -> str:
    """Tell where an order of the visitor is.

    Args:
        number: The order's number.
    """
    # Who asks is in the context. Never take that from the model, which believes its reader.
    user = wrapper.context.request_context.user
    name = user.get_username() if user is not None else ""
    return ORDERS.get(name, {}).get(number, "There is no order of that number.")


def shop_agent(context: RequestContext) -> Agent[AgentContext[RequestContext]]:
    """The agent of one turn. Instructions are static: no word of a visitor belongs there."""
    model = build_model()
    refunds: Agent[AgentContext[RequestContext]] = Agent(
        name="Refunds",
        handoff_description="Takes care of goods that go back.",
        instructions="You arrange refunds. Be kind.",
        model=model,
    )
    return Agent(
        name="Shop",
        instructions="You answer for a shop. Hand over to Refunds what goes back.",
        tools=[order_status],
        handoffs=[refunds],
        model=model,
    )
