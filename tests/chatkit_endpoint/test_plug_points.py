"""The plug points, each with the sample site that ``docs/plug-points.md`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.server import NonStreamingResult, StreamingResult
from rest_framework.authtoken.models import Token

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Thread
from chatkit_endpoint.server import DjangoChatKitServer
from observability.models import Turn
from tests.sites import shop
from tests.sites.signed_tokens import token_for

from .visitors import Visitor, use_server, user_of

ROOT = Path(__file__).resolve().parents[2]
SITES = ("shop", "concierge", "signed_tokens", "tenants")

pytestmark = pytest.mark.django_db(transaction=True)


# -- CHATKIT_AGENT --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"), [("alice", "on its way"), ("bob", "There is no order of that number.")]
)
async def test_a_sites_own_agent_uses_its_tool_and_hands_over(
    settings: Any, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    settings.CHATKIT_AGENT = "tests.sites.shop.shop_agent"
    model = ScriptedModel(
        [
            [function_call("order_status", {"number": "17"}, call_id="call_1")],
            [function_call("transfer_to_refunds", {}, call_id="call_2")],
            [assistant_message("Send it back, I will see to it.", item_id="m1")],
        ]
    )
    monkeypatch.setattr(shop, "build_model", lambda: model)
    visitor = await Visitor().sign_in(await user_of(name))
    answer = await visitor.say("I want to return order 17")
    assert answer.text == "Send it back, I will see to it."
    assert not answer.errors
    model.assert_complete()
    first, second, last = model.calls
    assert first.system_instructions == last.system_instructions.replace(  # type: ignore[union-attr]
        "You arrange refunds. Be kind.",
        "You answer for a shop. Hand over to Refunds what goes back.",
    )
    assert told in str(second.input)
    assert last.system_instructions == "You arrange refunds. Be kind."
    turn = await Turn.objects.aget()
    assert (turn.status, turn.response) == ("completed", answer.text)


# -- CHATKIT_SERVER -------------------------------------------------------------------------------


async def test_a_sites_own_server_answers_and_is_recorded(settings: Any) -> None:
    use_server(settings, "tests.sites.concierge.Concierge")
    visitor = await Visitor().sign_in(await user_of("alice"))
    answer = await visitor.say("a room")
    assert [item.type for item in answer.done] == ["user_message", "widget"]
    turn = await Turn.objects.aget()
    assert (turn.prompt, turn.response) == ("a room", "Room 12: free")
    assert turn.thread_id == (await Thread.objects.aget()).key


async def test_any_callable_will_do(settings: Any) -> None:
    use_server(settings, "chatkit_endpoint.server.DjangoChatKitServer")
    visitor = await Visitor().sign_in(await user_of("alice"))
    assert (await visitor.say("Hello")).text


class OwnProcess(DjangoChatKitServer):
    """One that works before it streams."""

    processed = 0

    async def process(
        self, request: str | bytes | bytearray, context: RequestContext
    ) -> StreamingResult | NonStreamingResult:
        type(self).processed += 1
        return await super().process(request, context)


async def test_the_limits_are_asked_before_a_server_s_own_process(settings: Any) -> None:
    use_server(settings, f"{__name__}.OwnProcess")
    settings.CHATKIT_RATE_LIMIT = "2/d"
    visitor = await Visitor().sign_in(await user_of("alice"))
    statuses = [(await visitor.say("Hello")).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert OwnProcess.processed == 2


# -- CHATKIT_AUTHENTICATION_CLASSES ---------------------------------------------------------------


async def test_a_token_of_rest_framework_needs_no_csrf(settings: Any) -> None:
    settings.CHATKIT_AUTHENTICATION_CLASSES = ["rest_framework.authentication.TokenAuthentication"]
    alice = await user_of("alice")
    token = await Token.objects.acreate(user=alice)
    program = Visitor(**{"Authorization": f"Token {token.key}", "X-CSRFToken": ""})
    del program.http.cookies["csrftoken"]
    assert (await program.say("Hello")).status == 200
    assert (await Thread.objects.aget()).owner_key == f"user:{alice.pk}"

    forged = Visitor(Authorization="Token 0000")
    answer = await forged.ask("threads.list")
    assert (answer.status, answer.code) == (401, "unauthenticated")
    # A session means nothing where the site does not list its class.
    signed_in = await Visitor().sign_in(alice)
    assert (await signed_in.ask("threads.list")).status == 401


async def test_a_signed_token_and_a_session_side_by_side(settings: Any) -> None:
    settings.CHATKIT_AUTHENTICATION_CLASSES = [
        "tests.sites.signed_tokens.SignedTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ]
    alice = await user_of("alice")
    token = token_for(alice)
    program = Visitor(**{"Authorization": f"Bearer {token}", "X-CSRFToken": ""})
    thread_id = (await program.say("Hello")).thread.id
    browser = await Visitor().sign_in(alice)
    assert (await browser.ask("threads.get_by_id", thread_id=thread_id)).status == 200
    # The session still needs its token against forgery.
    careless = await Visitor(**{"X-CSRFToken": ""}).sign_in(alice)
    assert (await careless.ask("threads.list")).status == 403

    forged = Visitor(Authorization=f"Bearer {token}x")
    assert (await forged.ask("threads.list")).status == 401
    alice.is_active = False
    await alice.asave()
    assert (await program.ask("threads.list")).status == 401


# -- CHATKIT_TENANT -------------------------------------------------------------------------------


async def test_tenants_keep_the_same_user_apart(settings: Any) -> None:
    settings.ALLOWED_HOSTS = [".example.com"]
    settings.CHATKIT_TENANT = "tests.sites.tenants.tenant_of"
    alice = await user_of("alice")
    acme = await Visitor("acme.example.com").sign_in(alice)
    globex = await Visitor("globex.example.com").sign_in(alice)
    thread_id = (await acme.say("Hello")).thread.id
    row = await Thread.objects.aget()
    assert (row.tenant, row.owner_key) == ("acme", f"user:{alice.pk}")
    assert (await Turn.objects.aget()).tenant == "acme"
    assert (await acme.ask("threads.get_by_id", thread_id=thread_id)).status == 200
    assert (await globex.ask("threads.get_by_id", thread_id=thread_id)).status == 404


# -- the documentation ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SITES)
def test_the_documentation_shows_the_code_that_is_tested(name: str) -> None:
    code = (ROOT / "tests" / "sites" / f"{name}.py").read_text(encoding="utf-8")
    shown = (ROOT / "docs" / "plug-points.md").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in shown
