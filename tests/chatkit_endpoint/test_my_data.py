"""One's own page: what is stored on one's conversations, to take along and to erase."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from pytest_django import Settings

from chatkit_endpoint import my_threads, personal_data
from chatkit_endpoint.models import Thread
from observability.models import ClientEvent, Delivery, EndpointRequest, Feedback, Hold, Turn
from tests.chatkit_endpoint.conversations import (
    Conversation,
    found,
    is_gone,
    is_whole,
    plant,
    plant_attachment,
    plant_many,
    rows_of_all_tables,
)
from tests.chatkit_endpoint.visitors import Visitor
from tests.factories import make_client_event, make_prompt, make_thread, make_turn
from tests.pages import Page, html

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]

MINE = "/chatkit/my-data/"
DOWNLOAD = f"{MINE}download/"
ERASE_ALL = f"{MINE}erase/"


def erase_url(key: str) -> str:
    return f"{MINE}threads/{key}/erase/"


@pytest.fixture
def hers(client: Client, alice: User) -> Client:
    """Alice's browser."""
    client.force_login(alice)
    return client


def hold(thread: Thread) -> Hold:
    return Hold.objects.create(
        tenant=thread.tenant, owner_key=thread.owner_key, thread_id=thread.key, reason="A claim."
    )


class TestList:
    def test_it_tells_of_each_conversation_what_is_stored(self, hers: Client, alice: User) -> None:
        thread = make_thread("Holidays in Rome", user=alice)
        for text in ("Hello", "And then?", "Thanks"):
            make_prompt(thread, text)
        plant_attachment(alice, {}, thread=thread)
        turn = make_turn(user=alice, thread_id=thread.key)
        make_turn(user=alice, thread_id=thread.key, text_purged_at=timezone.now())
        make_client_event(turn, thread_id=thread.key)
        text = Page(html(hers, MINE)).text
        assert "1 conversation" in text
        assert "Holidays in Rome" in text
        for stored in (
            "3 messages",
            "1 file",
            "text of 1 recorded answer",
            "figures of 2 answers",
            "1 report of the browser",
        ):
            assert stored in text

    def test_who_has_nothing_reads_so(self, hers: Client) -> None:
        assert "You have no conversations here." in Page(html(hers, MINE)).text

    def test_a_thread_without_a_title_has_a_name(self, hers: Client, alice: User) -> None:
        make_thread("", user=alice)
        assert "(untitled)" in Page(html(hers, MINE)).text

    def test_a_hostile_title_is_shown_harmless(self, hers: Client, alice: User) -> None:
        make_thread("<script>alert(1)</script>\u202etxt.exe", user=alice)
        page = html(hers, MINE)
        assert "<script" not in page
        assert "\u202e" not in page
        assert "&lt;script&gt;" in page

    def test_it_goes_on_over_pages_the_newest_first(
        self, hers: Client, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(my_threads, "PER_PAGE", 2)
        for name in ("first", "second", "third"):
            make_thread(name, user=alice)
        one, two = Page(html(hers, MINE)).text, Page(html(hers, MINE, page=2)).text
        assert one.index("third") < one.index("second")
        assert "first" not in one
        assert "first" in two
        assert "Page 2 of 2" in two
        assert "Older" in one
        assert "Newer" in two

    @pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999"])
    def test_what_is_no_page_is_some_page(self, hers: Client, alice: User, number: str) -> None:
        make_thread("Rome", user=alice)
        assert "Rome" in html(hers, MINE, page=number)

    def test_its_queries_do_not_grow_with_the_threads(self, hers: Client, alice: User) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                html(hers, MINE)
            return len(captured)

        plant_many(alice, 1)
        few = queries()
        Thread.objects.all().delete()
        plant_many(alice, 15)
        assert queries() == few

    def test_a_thread_on_hold_says_so_and_offers_no_deletion(
        self, hers: Client, alice: User
    ) -> None:
        thread = make_thread("Rome", user=alice)
        hold(thread)
        page = html(hers, MINE)
        assert "On hold" in page
        assert erase_url(thread.key) not in page
        assert "A claim." not in page

    def test_no_cache_keeps_it(self, hers: Client) -> None:
        for url in (MINE, ERASE_ALL):
            assert "no-store" in hers.get(url).headers["Cache-Control"]

    def test_it_asks_for_nothing_inline(self, hers: Client, alice: User) -> None:
        thread = make_thread("Rome", user=alice)
        for url in (MINE, ERASE_ALL, erase_url(thread.key)):
            for tag, *attributes in Page(html(hers, url)).elements:
                assert tag not in ("script", "style")
                assert not [name for name in attributes if name.startswith("on")]
                assert "style" not in attributes

    def test_the_chat_s_page_leads_to_it(self, hers: Client) -> None:
        assert f'href="{MINE}"' in html(hers, "/")


class TestErasing:
    def test_a_question_comes_first_and_changes_nothing(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        planted = plant(alice)
        before = rows_of_all_tables()
        for url in (erase_url(planted.thread.key), ERASE_ALL):
            text = Page(html(hers, url)).text
            assert "What goes, for good" in text
            assert "What stays" in text
        assert rows_of_all_tables() == before
        assert is_whole(planted, media)

    def test_one_conversation_goes_with_its_file_and_all_text(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        going, kept = plant(alice), plant(alice)
        answer = hers.post(erase_url(going.thread.key), follow=True)
        assert "1 conversation was deleted." in answer.content.decode()
        assert is_gone(going, media)
        assert is_whole(kept, media)
        going.turn.refresh_from_db()
        assert going.turn.total_ms == 1234

    def test_also_while_an_answer_is_being_written(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        planted = plant(alice, running=True)
        assert "being written" in html(hers, erase_url(planted.thread.key))
        hers.post(erase_url(planted.thread.key))
        assert is_gone(planted, media)

    def test_everything_goes_and_only_figures_stay(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        planted = [plant(alice), plant(alice, running=True)]
        loose: dict[str, str] = {}
        plant_attachment(alice, loose)
        owner = {"owner_key": f"user:{alice.pk}"}
        make_client_event(planted[0].turn)
        Feedback.objects.create(
            thread_id="thr_gone", item_id="1", kind="positive", first_kind="positive", **owner
        )
        EndpointRequest.objects.create(started_at=timezone.now(), status=200, total_ms=1, **owner)
        answer = hers.post(ERASE_ALL, follow=True)
        assert "2 conversations were deleted." in answer.content.decode()
        assert all(is_gone(each, media) for each in planted)
        assert not found(loose.values(), media)
        for model in (ClientEvent, Feedback, EndpointRequest, Thread):
            assert not model._default_manager.exists()
        assert Turn.objects.count() == 2

    def test_what_is_on_hold_stays_and_it_is_said(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        held, going = plant(alice), plant(alice)
        hold(held.thread)
        assert 'method="post"' not in html(hers, erase_url(held.thread.key))
        answer = hers.post(erase_url(held.thread.key), follow=True).content.decode()
        assert "1 conversation is on hold" in answer
        assert "deleted." not in answer
        assert is_whole(held, media)
        answer = hers.post(ERASE_ALL, follow=True).content.decode()
        assert "1 conversation was deleted." in answer
        assert "1 conversation is on hold" in answer
        assert is_whole(held, media)
        assert is_gone(going, media)

    def test_what_was_passed_on_is_told_where_something_was(
        self, hers: Client, alice: User
    ) -> None:
        planted = plant(alice)
        assert "passed on" not in html(hers, erase_url(planted.thread.key))
        Delivery.objects.update(state=Delivery.State.DELIVERED)
        assert "passed on" in html(hers, erase_url(planted.thread.key))
        assert "passed on" in html(hers, ERASE_ALL)

    def test_a_site_whose_requests_are_transactions_erases_too(
        self, hers: Client, alice: User, media: Path
    ) -> None:
        planted = plant(alice)
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            hers.post(erase_url(planted.thread.key))
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
        assert is_gone(planted, media)

    def test_a_form_of_another_site_erases_nothing(self, alice: User, media: Path) -> None:
        planted = plant(alice)
        careful = Client(enforce_csrf_checks=True)
        careful.force_login(alice)
        for url in (erase_url(planted.thread.key), ERASE_ALL):
            assert careful.post(url).status_code == 403
        assert is_whole(planted, media)

    @pytest.mark.parametrize("key", ["thr_nowhere", "thr_%00", "%F0%9F%92%A9", "a" * 300])
    def test_a_thread_that_is_not_there_is_not_found(self, hers: Client, key: str) -> None:
        assert hers.get(erase_url(key)).status_code == 404
        assert hers.post(erase_url(key)).status_code == 404

    def test_other_methods_are_refused(self, hers: Client, alice: User) -> None:
        planted = plant(alice)
        assert hers.post(MINE).status_code == 405
        assert hers.post(DOWNLOAD).status_code == 405
        for url in (ERASE_ALL, erase_url(planted.thread.key)):
            assert hers.delete(url).status_code == 405


class Somebody(NamedTuple):
    """Who may come to the page: an account, or nobody, in one of two tenants."""

    name: str
    tenant: str


PEOPLE = [Somebody(name, tenant) for name in ("alice", "bob", "") for tenant in ("acme", "globex")]


class TestIsolation:
    """Everybody × everything: what is somebody else's is as if it were not there."""

    @pytest.fixture
    def planted(self, settings: Settings, alice: User, bob: User) -> dict[Somebody, Conversation]:
        settings.ALLOWED_HOSTS = [".example.com"]
        settings.CHATKIT_TENANT = "tests.sites.tenants.tenant_of"
        settings.CHATKIT_ALLOW_ANONYMOUS = True
        people = {"alice": alice, "bob": bob}
        return {who: plant(people[who.name], tenant=who.tenant) for who in PEOPLE if who.name}

    @pytest.fixture(params=PEOPLE, ids=lambda who: f"{who.name or 'nobody'}-{who.tenant}")
    def who(self, request: pytest.FixtureRequest) -> Somebody:
        somebody: Somebody = request.param
        return somebody

    def browser(self, who: Somebody) -> Client:
        browser = Client(headers={"host": f"{who.tenant}.example.com"})
        if who.name:
            browser.force_login(User.objects.get(username=who.name))
        return browser

    def test_the_list_is_of_ones_own(
        self, planted: dict[Somebody, Conversation], who: Somebody
    ) -> None:
        answer = self.browser(who).get(MINE)
        assert answer.status_code == (200 if who.name else 302)
        shown = answer.content.decode()
        for owner, conversation in planted.items():
            assert (conversation.marks["title"] in shown) == (owner == who)
            assert (conversation.thread.key in shown) == (owner == who)

    def test_the_question_is_of_ones_own(
        self, planted: dict[Somebody, Conversation], who: Somebody
    ) -> None:
        browser = self.browser(who)
        missing = browser.get(erase_url("thr_nowhere"))
        for owner, conversation in planted.items():
            answer = browser.get(erase_url(conversation.thread.key))
            if owner == who:
                assert answer.status_code == 200
            else:
                assert answer.status_code == missing.status_code == (404 if who.name else 302)
                assert conversation.marks["title"] not in answer.content.decode()

    def test_nobody_erases_a_thread_of_others(
        self, planted: dict[Somebody, Conversation], who: Somebody, media: Path
    ) -> None:
        browser = self.browser(who)
        for owner, conversation in planted.items():
            if owner != who:
                answer = browser.post(
                    erase_url(conversation.thread.key),
                    # Nor by a form that says so.
                    {"owner_key": conversation.thread.owner_key, "tenant": owner.tenant},
                )
                assert answer.status_code == (404 if who.name else 302)
        assert all(is_whole(each, media) for each in planted.values())

    def test_erasing_everything_is_everything_of_ones_own(
        self, planted: dict[Somebody, Conversation], who: Somebody, media: Path
    ) -> None:
        self.browser(who).post(ERASE_ALL, {"tenant": "acme", "owner_key": "user:1"})
        for owner, conversation in planted.items():
            if owner == who:
                assert is_gone(conversation, media)
            else:
                assert is_whole(conversation, media)

    async def test_the_archive_is_of_ones_own(
        self, planted: dict[Somebody, Conversation], who: Somebody
    ) -> None:
        visitor = Visitor(f"{who.tenant}.example.com")
        if who.name:
            await visitor.sign_in(await User.objects.aget(username=who.name))
        answer: Any = await visitor.http.get(DOWNLOAD)
        if not who.name:
            assert answer.status_code == 302
            return
        archive = ZipFile(io.BytesIO(await whole(answer)))
        text = "".join(archive.read(name).decode() for name in archive.namelist())
        for owner, conversation in planted.items():
            for place in ("title", "prompt-item", "bytes", "turn-response", "message-thought"):
                assert (conversation.marks[place] in text) == (owner == who)


async def whole(answer: Any) -> bytes:
    return b"".join([bytes(piece) async for piece in answer.streaming_content])


class TestDownload:
    @pytest.fixture
    async def browser(self, alice: User) -> AsyncClient:
        browser = AsyncClient()
        await browser.aforce_login(alice)
        return browser

    async def test_it_is_a_file_to_save_that_no_cache_keeps(self, browser: AsyncClient) -> None:
        answer: Any = await browser.get(DOWNLOAD)
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert "no-store" in answer.headers["Cache-Control"]
        assert ZipFile(io.BytesIO(await whole(answer))).testzip() is None

    async def test_its_readme_is_in_the_visitor_s_language(
        self, browser: AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        languages: list[str | None] = []

        def render(template: str, words: dict[str, Any]) -> str:
            languages.append(translation.get_language())
            return "Lies mich"

        monkeypatch.setattr(personal_data, "render_to_string", render)
        answer: Any = await browser.get(DOWNLOAD, headers={"Accept-Language": "de"})
        assert ZipFile(io.BytesIO(await whole(answer))).read("README.txt") == b"Lies mich"
        assert languages == ["de"]

    async def test_too_many_are_refused_in_words(
        self, browser: AsyncClient, settings: Settings
    ) -> None:
        settings.CHATKIT_RATE_LIMIT = "1/h"
        await whole(await browser.get(DOWNLOAD))
        answer: Any = await browser.get(DOWNLOAD, follow=True)
        assert answer.redirect_chain == [(MINE, 302)]
        assert "too much at once" in answer.content.decode()


def test_who_is_not_signed_in_is_asked_to_and_comes_back(
    client: Client, settings: Settings
) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    for url in (MINE, DOWNLOAD, ERASE_ALL, erase_url("thr_1")):
        assert client.get(url).headers["Location"] == f"/accounts/login/?next={url}"


def test_a_conversation_of_long_ago_tells_its_days(hers: Client, alice: User) -> None:
    long_ago = timezone.now() - timedelta(days=400)
    make_thread("Rome", user=alice, created_at=long_ago, updated_at=long_ago)
    assert f'datetime="{long_ago:%Y-%m-%d}' in html(hers, MINE)
