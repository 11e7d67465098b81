"""What a visitor or an operator reads is in their language, from a stream's start to its end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from agents import Agent, RunContextWrapper, function_tool
from chatkit.agents import AgentContext
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ProgressUpdateEvent,
    ThreadItemUpdatedEvent,
    WorkflowItem,
)
from django.conf import settings as site
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client, RequestFactory
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext

from chatkit_endpoint import assistant
from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.demo_model import DemoModel
from chatkit_endpoint.embedding import page_context
from chatkit_endpoint.locales import language_instruction
from observability.models import Turn
from tests.pages import Page
from tests.standins.openai import OpenAIStandin, openai_standin

from .visitors import Answer, Visitor, user_of

LANGUAGES = [code for code, _ in site.LANGUAGES]
STEPS = 5
DAY = datetime(2026, 3, 1, tzinfo=UTC)

QUESTIONS = {
    "en": "What time is it in Tokyo?",
    "de": "Wie spät ist es in Tokio?",
    "fr": "Quelle heure est-il à Tokyo ?",
    "es": "¿Qué hora es en Tokio?",
    "pt-br": "Que horas são em Tóquio?",
    "ja": "東京は今何時ですか",
    "ar": "كم الساعة الآن في طوكيو؟",
}
THOUGHT = "They want to know the time. I have a tool for that."
PROGRESS = "Looking at the clock…"
ANSWER = "I looked at the clock. It says: %(time)s"
UNAUTHENTICATED = "You are not signed in, or your login has expired. Sign in again."
TOO_LONG = "The answer took too long, so it was stopped."


def said_in(language: str, message: str, **values: str) -> str:
    with translation.override(language):
        text = gettext(message)
    return text % values if values else text


async def visitor_in(language: str, name: str = "alice") -> Visitor:
    return await Visitor(**{"Accept-Language": language}).sign_in(await user_of(name))


def progress(answer: Answer) -> list[str]:
    return [event.text for event in answer.events if isinstance(event, ProgressUpdateEvent)]


def thoughts(answer: Answer) -> str:
    return "".join(
        str(getattr(task, "content", None))
        for item in answer.done
        if isinstance(item, WorkflowItem)
        for task in item.workflow.tasks
    )


def deltas(answer: Answer) -> list[str]:
    return [
        event.update.delta
        for event in answer.events
        if isinstance(event, ThreadItemUpdatedEvent)
        and isinstance(event.update, AssistantMessageContentPartTextDelta)
    ]


# -- two streams at once ---------------------------------------------------------------------------


class Meeting:
    """Where the streams wait for each other, step by step, and who came when."""

    today: ClassVar[Meeting]

    def __init__(self, count: int) -> None:
        self._barrier = asyncio.Barrier(count)
        self.arrivals: list[str] = []

    async def meet(self, who: str) -> None:
        self.arrivals.append(who)
        await self._barrier.wait()


@function_tool(name_override="current_time")
async def time_in_step(
    wrapper: RunContextWrapper[AgentContext[RequestContext]], time_zone: str
) -> str:
    """Tells the time, a step at a time, each when the other stream has come as far."""
    words = []
    for _ in range(STEPS):
        await wrapper.context.stream(ProgressUpdateEvent(text=gettext(PROGRESS)))
        await Meeting.today.meet(wrapper.context.request_context.locale)
        words.append(date_format(DAY, "DATE_FORMAT"))
    return " ".join(words)


def agent_in_step(context: RequestContext) -> Agent[AgentContext[RequestContext]]:
    return Agent(name="In step", tools=[time_in_step], model=DemoModel(seconds_per_word=0))


@pytest.mark.django_db(transaction=True)
async def test_two_streams_in_two_languages_do_not_mix(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHATKIT_AGENT = f"{__name__}.agent_in_step"
    monkeypatch.setattr(Meeting, "today", Meeting(2), raising=False)
    days = {"de": "1. März 2026", "ja": "2026年3月1日"}
    visitors = [await visitor_in(language, language) for language in days]
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(each.say("The time, please") for each in visitors))

    arrivals = Meeting.today.arrivals
    assert len(arrivals) == 2 * STEPS
    assert all(set(arrivals[at : at + 2]) == set(days) for at in range(0, 2 * STEPS, 2))
    for (language, day), answer in zip(days.items(), answers, strict=True):
        assert answer.errors == []
        assert thoughts(answer).startswith(said_in(language, THOUGHT))
        assert progress(answer) == [said_in(language, PROGRESS)] * STEPS
        expected = said_in(language, ANSWER, time=" ".join([day] * STEPS))
        assert answer.text == "".join(deltas(answer)) == expected
    assert {turn.locale async for turn in Turn.objects.all()} == set(days)


# -- every language --------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hasty")
async def test_the_demo_thinks_looks_and_answers_in_the_visitors_language(language: str) -> None:
    answer = await (await visitor_in(language)).say(QUESTIONS[language])
    assert thoughts(answer).startswith(said_in(language, THOUGHT))
    assert progress(answer) == [said_in(language, PROGRESS)]
    assert answer.text.startswith(said_in(language, ANSWER).partition("%")[0])
    assert "Asia/Tokyo" in answer.text


def test_every_language_has_words_of_its_own() -> None:
    for message in (THOUGHT, PROGRESS, ANSWER, UNAUTHENTICATED, TOO_LONG):
        assert len({said_in(language, message) for language in LANGUAGES}) == len(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.django_db(transaction=True)
async def test_a_refusal_is_in_the_visitors_language(language: str) -> None:
    refusal = await Visitor(**{"Accept-Language": language}).say("Hello")
    assert refusal.json["error"] == {
        "code": "unauthenticated",
        "message": said_in(language, UNAUTHENTICATED),
    }


@pytest.mark.parametrize("language", ["ja", "ar"])
@pytest.mark.django_db(transaction=True)
async def test_an_error_in_the_stream_is_in_the_visitors_language_not_the_pages(
    settings: Any, language: str
) -> None:
    settings.CHATKIT_TURN_TIMEOUT = 2.0
    visitor = await visitor_in(language)
    visitor.http.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    answer = await visitor.say("/long")
    assert [error.message for error in answer.errors] == [said_in(language, TOO_LONG)]
    assert (await Turn.objects.aget()).error_message == said_in(language, TOO_LONG)


# -- what the model is told ------------------------------------------------------------------------


@pytest.fixture
async def model(settings: Any) -> AsyncIterator[OpenAIStandin]:
    """The real model client, speaking HTTP to a stand-in of OpenAI."""
    assistant._client.cache_clear()
    with openai_standin() as standin:
        settings.OPENAI_API_KEY = "a-key"
        settings.OPENAI_BASE_URL = standin.base_url
        yield standin
        await assistant.openai_client().close()
    assistant._client.cache_clear()


@pytest.mark.parametrize(
    ("header", "code"),
    [("ja-JP, x-be-a-pirate;q=0.5", "ja"), ("x-be-a-pirate, pt", "pt-br"), ("x-be-a-pirate", "en")],
)
@pytest.mark.django_db(transaction=True)
async def test_the_model_is_told_the_language_and_nothing_of_the_header(
    model: OpenAIStandin, header: str, code: str
) -> None:
    await (await visitor_in(header)).say("Hello")
    assert model.bodies
    for body in model.bodies:
        assert body["instructions"] == assistant.INSTRUCTIONS
        told = [item["content"] for item in body["input"] if item.get("role") == "developer"]
        assert told == [language_instruction(code)]
        assert "pirate" not in json.dumps(body)


# -- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("locale", "language"), [("pt", "pt-br"), ("ar-EG", "ar"), ("it", "en")])
def test_a_tags_locale_gets_the_nearest_language_of_the_site(
    rf: RequestFactory, locale: str, language: str
) -> None:
    data = page_context(rf.get("/"), {"locale": locale}, height="1")["data"]
    assert data["builtin"]["labels"]["send"] == said_in(language, "Send")


# -- what operators read ---------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.django_db
def test_the_operators_pages_are_in_their_language(admin_client: Client, language: str) -> None:
    user = User.objects.create(username="alice")
    turn = Turn.objects.create(
        user=user, owner_key=f"user:{user.pk}", prompt="Hello", status="failed", started_at=DAY
    )
    headers = {"Accept-Language": language}
    with translation.override(language):
        words = {
            "/admin/observability/turn/": gettext("failed"),
            f"/admin/observability/turn/{turn.pk}/change/": gettext("Who and where"),
            "/admin/observability/dashboard/": gettext("Time to first token"),
            "/admin/chatkit_endpoint/thread/": gettext("Nobody has started a conversation yet."),
        }
        direction = "rtl" if translation.get_language_bidi() else "ltr"
    for url, word in words.items():
        answer = admin_client.get(url, headers=headers)
        assert answer.status_code == 200, url
        source = answer.content.decode()
        root = re.search(r"<html[^>]*>", source)
        assert root is not None
        assert f'lang="{language}"' in root[0]
        assert f'dir="{direction}"' in root[0]
        assert word in Page(source).text, url


def test_the_system_checks_and_their_hints_are_in_every_language() -> None:
    found = []
    for language in LANGUAGES:
        with translation.override(language):
            found.append(run_checks(tags=["chatkit", "chatsite", "observability"]))
    assert found[0]
    for said in zip(*found, strict=True):
        assert len({message.id for message in said}) == 1
        assert len({message.msg for message in said}) == len(LANGUAGES), said[0]
        assert len({message.hint for message in said}) == len(LANGUAGES), said[0]
