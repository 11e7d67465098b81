"""A thread's title is made with its first turn, as a step of it."""

from __future__ import annotations

import pytest

from observability.models import TurnSpans

from .visitors import Visitor, user_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hasty")]


async def test_the_first_turn_alone_has_it_among_its_steps() -> None:
    vera = await Visitor().sign_in(await user_of("vera"))
    thread_id = (await vera.say("What time is it?")).thread.id
    await vera.say("And now?", thread_id)
    first, second = [row.spans async for row in TurnSpans.objects.order_by("pk")]
    (title,) = [span for span in first if span["kind"] == "title"]
    assert (title["name"], title["parent_id"]) == ("from_prompt", "request")
    assert not [span for span in second if span["kind"] == "title"]
