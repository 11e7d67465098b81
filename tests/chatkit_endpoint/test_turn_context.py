"""CHATKIT_TURN_CONTEXT: what the site knows of a turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.checks import run_checks

from chatkit_endpoint.context import RequestContext
from observability.models import Turn, TurnFact

from .visitors import Visitor, user_of

ROOT = Path(__file__).resolve().parents[2]
HERE = __name__

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hasty")]


def failing(context: RequestContext) -> dict[str, Any]:
    raise LookupError(context.owner_key)


def querying_badly(context: RequestContext) -> dict[str, Any]:
    """A query that fails: on PostgreSQL, what follows it in its transaction would fail too."""
    return {"fine": True, "groups": Group.objects.extra(where=["nonsense"]).count()}


async def facts() -> dict[str, tuple[str, str]]:
    return {
        fact.key: (fact.value, fact.object_model) async for fact in TurnFact.objects.order_by("pk")
    }


async def test_a_turn_is_kept_with_what_the_site_says(settings: Any) -> None:
    settings.CHATKIT_TURN_CONTEXT = "tests.sites.facts.facts_of"
    vera = await user_of("vera")
    visitor = await Visitor().sign_in(vera)
    assert (await visitor.say("Hello")).status == 200
    assert await facts() == {
        "plan": ("free", ""),
        "account": ("vera", "auth.user"),
        "team": ("", ""),
    }
    await vera.groups.acreate(name="staff")
    await TurnFact.objects.all().adelete()
    await visitor.say("Hello again")
    assert await facts() == {
        "plan": ("gold", ""),
        "account": ("vera", "auth.user"),
        "team": ("staff", "auth.group"),
    }


@pytest.mark.parametrize("name", ["failing", "querying_badly", "missing"])
async def test_what_fails_in_it_costs_the_turn_nothing(
    settings: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    settings.CHATKIT_TURN_CONTEXT = f"{HERE}.{name}"
    visitor = await Visitor().sign_in(await user_of("vera"))
    answer = await visitor.say("Hello")
    assert (answer.status, answer.errors) == (200, [])
    turn = await Turn.objects.aget()
    assert turn.status == Turn.Status.COMPLETED
    assert await facts() == {}
    (line,) = [record for record in caplog.records if "fact" in record.getMessage()]
    assert line.fields["turn"] == turn.trace_id  # type: ignore[attr-defined]
    assert turn.owner_key not in caplog.text


def test_it_is_not_asked_where_it_is_not_set() -> None:
    assert RequestContext(user=None, owner_key="guest:1").facts is None


@pytest.mark.parametrize(
    ("path", "is_wrong"),
    [
        ("", False),
        ("tests.sites.facts.facts_of", False),
        ("tests.sites.facts.nothing", True),
        ("tests.sites.nothing.at_all", True),
        ("nonsense", True),
        ("tests.sites.facts", True),
    ],
)
def test_a_path_to_nothing_is_said_by_the_checks(settings: Any, path: str, is_wrong: bool) -> None:
    settings.CHATKIT_TURN_CONTEXT = path
    found = [each.id for each in run_checks() if each.id == "chatkit_endpoint.E009"]
    assert found == ["chatkit_endpoint.E009"] * is_wrong


def test_the_documentation_shows_the_sample() -> None:
    sample = (ROOT / "tests/sites/facts.py").read_text()
    assert f"```python\n{sample}```" in (ROOT / "docs/plug-points.md").read_text()
