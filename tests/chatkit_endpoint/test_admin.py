"""Threads in Django's admin."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from chatkit.types import ClosedStatus
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chatkit_endpoint import admin as thread_admin
from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from chatkit_endpoint.thread_status import Status, set_status
from observability.holds import place_on_thread
from observability.models import Hold, Message, Turn
from tests.factories import (
    make_answer,
    make_item,
    make_operator,
    make_prompt,
    make_thread,
    make_turn,
    make_user,
)
from tests.pages import Page, html

from .visitors import Visitor, user_of

pytestmark = pytest.mark.django_db

THREADS = "/admin/chatkit_endpoint/thread/"
HOSTILE = (
    '</pre></details></div><script>alert(1)</script>"><img src=x onerror=alert(1)> \u202egpj\x07'
)


@pytest.fixture
def admin(client: Client) -> Client:
    """The browser of an operator who may do everything."""
    client.force_login(make_operator())
    return client


def page_of(thread: Thread) -> str:
    return reverse("admin:chatkit_endpoint_thread_change", args=(thread.pk,))


# -- the list --------------------------------------------------------------------------------------


def test_the_list_shows_whose_each_thread_is_and_how_long(admin: Client) -> None:
    thread = make_thread("About time", user=make_user("vera"))
    for _ in range(3):
        make_prompt(thread, "Hello")
    make_thread("")
    page = html(admin, THREADS)
    assert "<bdi>About time</bdi>" in page
    assert "<bdi>vera</bdi>" in page
    assert '<td class="field-shown_items">3</td>' in page
    assert '<td class="field-shown_items">0</td>' in page
    assert "<bdi>(untitled)</bdi>" in page
    assert "<bdi>guest:1</bdi>" in page


def test_the_list_takes_as_many_queries_for_many_threads_as_for_one(
    admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_prompt(make_thread(user=make_user()), "Hello")
    # Session, operator, the count and the page.
    with django_assert_num_queries(4) as queries:
        html(admin, THREADS)
    # The JSON is neither read nor searched.
    page = queries[-1]["sql"]
    assert '"payload"' not in page
    assert not any('"chatkit_endpoint_thread"."payload",' in query["sql"] for query in queries)
    for number in range(30):
        make_prompt(make_thread(user=make_user(f"v{number}")), "Hello")
    with django_assert_num_queries(4):
        html(admin, THREADS)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "weather"}, {"Weather"}),
        ({"q": "vera"}, {"Time"}),
        ({"q": "thr_weather"}, {"Weather"}),
        ({"owner_key": "guest:2"}, {"Weather"}),
        ({"q": "neither"}, set()),
    ],
)
def test_the_list_is_searched_and_narrowed(
    admin: Client, query: dict[str, Any], found: set[str]
) -> None:
    make_thread("Time", user=make_user("vera"))
    make_thread("Weather", key="thr_weather", owner_key="guest:2")
    threads = admin.get(THREADS, query).context["cl"].result_list
    assert {thread.title for thread in threads} == found


def test_the_list_is_filtered_by_when_it_was_last_written_in(admin: Client) -> None:
    make_thread("Old", updated_at=timezone.now() - timedelta(days=60))
    fresh = make_thread("Fresh")
    since = str(timezone.now() - timedelta(days=7))
    threads = admin.get(THREADS, {"updated_at__gte": since}).context["cl"].result_list
    assert list(threads) == [fresh]


def test_an_empty_list_says_why(admin: Client) -> None:
    assert "Nobody has started a conversation yet." in html(admin, THREADS)
    assert "Nothing matches." in html(admin, THREADS, q="weather")


# -- the page --------------------------------------------------------------------------------------


def test_a_thread_reads_like_a_conversation(admin: Client) -> None:
    thread = make_thread("About time", user=make_user("vera"))
    make_prompt(thread, "What time is it?")
    task = {"type": "thought", "title": None, "content": "Look at the clock."}
    make_item(thread, "workflow", workflow={"type": "reasoning", "tasks": [task]})
    make_answer(thread, "Noon.")
    make_item(thread, "widget", widget={"type": "Card", "size": "lg"})
    page = html(admin, page_of(thread))
    texts = ("About time", "What time is it?", "Look at the clock.", "Noon.", "Widget", "Card")
    positions = [page.index(text) for text in texts]
    assert positions == sorted(positions)
    assert '<details class="obs-folded"><summary>Thought' in page


def test_a_thread_leads_to_its_turns(admin: Client) -> None:
    thread = make_thread()
    turn = make_turn(thread_id=thread.key)
    make_turn(thread_id="thr_other")
    url = admin.get(page_of(thread)).context["turns_url"]
    assert url in html(admin, page_of(thread))
    assert list(admin.get(url).context["cl"].result_list) == [turn]


def test_a_long_thread_comes_in_pages_of_constant_cost(
    admin: Client,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread_admin, "ITEMS_PER_PAGE", 2)
    thread = make_thread(user=make_user())
    for number in range(5):
        make_prompt(thread, f"prompt {number}")
    html(admin, page_of(thread))  # What Django caches for the process is asked for once.
    # Session, operator; thread, user, the count and the page of items, holds; who reads is noted.
    with django_assert_num_queries(8):
        first = html(admin, page_of(thread))
    assert "prompt 1" in first
    assert "prompt 2" not in first
    assert '<a rel="next" href="?p=2">' in first
    last = html(admin, page_of(thread), p="3")
    assert "prompt 4" in last
    assert "Page 3 of 3" in last
    assert 'rel="next"' not in last
    assert "prompt 4" in html(admin, page_of(thread), p="999")


def test_an_empty_thread_says_so(admin: Client) -> None:
    assert "Nothing has been written in this thread." in html(admin, page_of(make_thread()))


def pages_with(client: Client, text: str, *, key: str) -> list[str]:
    """The pages of a thread that has this text everywhere."""
    thread = make_thread(text, user=make_user(text[:150]), tenant=text, key=key)
    attachment = {"id": "atc_1", "name": text, "mime_type": "image/png"}
    make_prompt(thread, text, quoted_text=text, attachments=[attachment])
    make_answer(thread, text)
    make_item(thread, "task", task={"title": text, "content": text})
    make_item(thread, "widget", widget={text: text}, copy_text=text)
    make_item(thread, text[:64], more=text)
    set_status(thread.pk, Status.LOCKED, text)
    urls = (THREADS, page_of(thread), f"{THREADS}{thread.pk}/delete/")
    pages = [html(client, url) for url in urls]
    Thread.objects.all().delete()
    return pages


def test_no_text_adds_an_element_or_an_attribute_to_any_page(admin: Client) -> None:
    harmless = pages_with(admin, "harm " * 20, key="harm " * 20)
    hostile = pages_with(admin, HOSTILE, key=HOSTILE)
    assert [Page(page).elements for page in hostile] == [Page(page).elements for page in harmless]


def test_characters_that_turn_text_around_reach_no_page(admin: Client) -> None:
    for page in pages_with(admin, HOSTILE, key="thr_1"):
        assert "\u202e" not in page
        assert "\x07" not in page


def test_a_megabyte_of_title_makes_no_megabyte_of_list(admin: Client) -> None:
    make_thread("<b>" * 350_000)
    assert len(html(admin, THREADS)) < 100_000


# -- who may do what, and deleting -----------------------------------------------------------------


def test_nobody_adds_or_changes_a_thread(admin: Client) -> None:
    thread = make_thread()
    assert admin.get(f"{THREADS}add/").status_code == 403
    assert admin.post(page_of(thread), {"title": "changed"}).status_code == 403


# -- locking and closing ---------------------------------------------------------------------------


def shut(client: Client, thread: Thread, status: str, reason: str = "", **options: Any) -> Any:
    """What the form on a thread's page does."""
    data = {"status": status, "reason": reason}
    return client.post(f"{THREADS}{thread.pk}/status/", data, **options)


def test_an_operator_locks_a_thread_and_opens_it_again(admin: Client) -> None:
    thread = make_thread()
    written_at = thread.updated_at
    answer = shut(admin, thread, "locked", "A colleague calls you.", follow=True)
    assert answer.redirect_chain == [(page_of(thread), 302)]
    page = answer.content.decode()
    assert "Status: Locked" in page
    assert '<option value="locked" selected>' in page
    assert "A colleague calls you.</textarea>" in page
    thread.refresh_from_db()
    payload = json.loads(thread.payload)
    assert payload["status"] == {"type": "locked", "reason": "A colleague calls you."}
    assert payload["title"] == "The time"
    assert thread.updated_at == written_at
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.get_change_message()) == (thread.key, "Status: Locked")

    shut(admin, thread, "active", "Never mind.")
    thread.refresh_from_db()
    assert json.loads(thread.payload)["status"] == {"type": "active"}


def test_the_list_shows_and_narrows_to_what_is_shut(admin: Client) -> None:
    threads = {status: make_thread(status) for status in ("active", "locked", "closed")}
    # What a visitor writes is not mistaken for it.
    make_thread('{"status":{"type":"locked"}}')
    for status, thread in threads.items():
        shut(admin, thread, status)
    assert html(admin, THREADS).count('<td class="field-shown_status">Locked</td>') == 1
    for status, thread in threads.items():
        found = set(admin.get(THREADS, {"status": status}).context["cl"].result_list)
        assert thread in found
        assert not found & (set(threads.values()) - {thread})
        assert len(found) == (2 if status == "active" else 1)
    assert admin.get(THREADS, {"status": "nonsense"}).context["cl"].result_count == 4


@pytest.mark.parametrize(
    "data", [{}, {"status": "gone"}, {"status": "locked", "reason": "x" * 301}]
)
def test_what_is_no_status_changes_nothing_and_is_told(admin: Client, data: Any) -> None:
    thread = make_thread()
    answer = admin.post(f"{THREADS}{thread.pk}/status/", data, follow=True)
    assert '<li class="error">' in answer.content.decode()
    before = thread.payload
    thread.refresh_from_db()
    assert thread.payload == before
    assert not LogEntry.objects.exists()


def test_who_may_only_view_or_delete_can_not_shut_a_thread(client: Client) -> None:
    thread = make_thread()
    rights = ("chatkit_endpoint.view_thread", "chatkit_endpoint.delete_thread")
    client.force_login(make_operator(*rights))
    assert "/status/" not in html(client, page_of(thread))
    assert shut(client, thread, "locked").status_code == 403
    before = thread.payload
    thread.refresh_from_db()
    assert thread.payload == before


def test_who_may_change_threads_can_shut_one(client: Client) -> None:
    thread = make_thread()
    client.force_login(make_operator("chatkit_endpoint.change_thread"))
    assert f'action="{THREADS}{thread.pk}/status/"' in html(client, page_of(thread))
    assert shut(client, thread, "closed").status_code == 302
    thread.refresh_from_db()
    assert json.loads(thread.payload)["status"] == {"type": "closed"}


def test_a_status_is_set_by_the_form_of_the_page_only(admin: Client) -> None:
    thread = make_thread()
    assert admin.get(f"{THREADS}{thread.pk}/status/").status_code == 405
    missing = admin.post(f"{THREADS}{thread.pk + 1}/status/", {"status": "locked"})
    assert missing.status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin.cookies
    assert shut(strict, thread, "locked").status_code == 403
    admin.logout()
    assert "/admin/login/" in shut(admin, thread, "locked")["Location"]
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hasty")
async def test_a_visitor_is_refused_with_the_operators_reason_and_may_go_on_afterwards() -> None:
    visitor = await Visitor().sign_in(await user_of("vera"))
    thread = await Thread.objects.aget(key=(await visitor.say("Hello")).thread.id)
    browser = Client()

    @sync_to_async
    def operate(status: str, reason: str = "") -> None:
        browser.force_login(User.objects.filter(username="otto").first() or make_operator())
        assert shut(browser, thread, status, reason).status_code == 302

    reason = "Bitte rufen Sie uns an: „0800“ <b>"
    await operate("closed", reason)
    refused = await visitor.say("Are you there?", thread.key)
    assert (refused.status, refused.code) == (409, "thread_locked")
    assert refused.json["error"]["message"] == reason
    shown = await visitor.ask("threads.get_by_id", thread_id=thread.key)
    assert shown.thread.status == ClosedStatus(reason=reason)
    assert "operator" not in shown.body.decode()
    # The page that a visitor has open hears of it with the list of threads, too.
    (listed,) = (await visitor.ask("threads.list")).json["data"]
    assert listed["status"]["type"] == "closed"
    await operate("active")
    assert (await visitor.say("Are you there?", thread.key)).status == 200


# -- holds -----------------------------------------------------------------------------------------


def test_an_operator_puts_a_thread_on_hold_and_releases_it(admin: Client) -> None:
    thread = make_thread(key="thr_1")
    page = html(admin, page_of(thread))
    place = "/admin/observability/hold/place/?tenant=&amp;owner_key=guest%3A1&amp;thread_id=thr_1"
    assert f'action="{place}"' in page
    assert "obs-is-leased" not in page
    data = {"reason": "A complaint", "next": page_of(thread)}
    answer = admin.post(place.replace("&amp;", "&"), data, follow=True)
    page = answer.content.decode()
    assert '<span class="obs-badge obs-is-leased">on hold</span>' in page
    assert "A complaint" in page
    hold = Hold.objects.get()
    assert (hold.tenant, hold.owner_key, hold.thread_id) == ("", "guest:1", "thr_1")
    release = f"/admin/observability/hold/{hold.pk}/release/"
    assert f'action="{release}"' in page
    page = admin.post(release, {"next": page_of(thread)}, follow=True).content.decode()
    assert "obs-is-leased" not in page


def hold(thread: Thread) -> Hold:
    return place_on_thread(
        tenant=thread.tenant,
        owner_key=thread.owner_key,
        thread_id=thread.key,
        reason="A complaint",
        by=None,
    )


@pytest.mark.django_db(transaction=True)
def test_a_thread_on_hold_is_not_offered_for_deletion(admin: Client) -> None:
    held, other = make_thread(key="thr_held"), make_thread(key="thr_other")
    hold(held)
    page = html(admin, f"{THREADS}{held.pk}/delete/")
    assert "Thread on hold: thr_held" in page
    admin.post(f"{THREADS}{held.pk}/delete/", {"post": "yes"})
    delete_selected(admin, held, other)
    assert Thread.objects.count() == 2
    delete_selected(admin, other)
    assert Thread.objects.get() == held


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("hasty")
async def test_a_visitor_can_not_delete_what_is_on_hold_and_is_told_so() -> None:
    visitor = await Visitor().sign_in(await user_of("vera"))
    thread = await Thread.objects.aget(key=(await visitor.say("Hello")).thread.id)
    placed = await sync_to_async(hold)(thread)
    refused = await visitor.ask("threads.delete", thread_id=thread.key)
    assert refused.status == 409
    assert "hold" in refused.json["error"]["message"]
    assert (await visitor.say("Then I go on", thread.key)).status == 200
    assert {turn.prompt async for turn in Turn.objects.all()} == {"Hello", "Then I go on"}
    await placed.adelete()
    assert (await visitor.ask("threads.delete", thread_id=thread.key)).status == 200
    assert not await Thread.objects.aexists()


def test_who_may_only_view_sees_no_way_to_delete(client: Client) -> None:
    thread = make_thread()
    client.force_login(make_operator("chatkit_endpoint.view_thread"))
    page = html(client, page_of(thread))
    assert "delete/" not in page
    assert "/turn/" not in page
    assert client.post(f"{THREADS}{thread.pk}/delete/", {"post": "yes"}).status_code == 403
    delete_selected(client, thread)
    assert Thread.objects.exists()


def conversation(storage_name: str = "chatkit/notes.txt") -> Thread:
    """A thread with an item, a file and a turn, all with text."""
    thread = make_thread("Secret title", user=make_user(f"visitor of {storage_name}"))
    make_prompt(thread, "Secret prompt")
    name = default_storage.save(storage_name, ContentFile(b"secret bytes"))
    Attachment.objects.create(
        key=f"atc_{thread.key}",
        thread=thread,
        owner_key=thread.owner_key,
        name="secret.txt",
        mime_type="text/plain",
        file=name,
        payload="{}",
    )
    make_turn("Secret prompt", "Secret answer", thread_id=thread.key, owner_key=thread.owner_key)
    return thread


def delete_selected(client: Client, *threads: Thread) -> None:
    client.post(
        THREADS,
        {
            "action": "delete_selected",
            "_selected_action": [thread.pk for thread in threads],
            "post": "yes",
        },
    )


def assert_nothing_is_left() -> None:
    assert not Thread.objects.exists()
    assert not ThreadItem.objects.exists()
    assert not Attachment.objects.exists()
    assert not Message.objects.exists()
    for turn in Turn.objects.all():
        assert (turn.prompt, turn.response) == ("", "")
        assert turn.text_purged_at is not None


@pytest.fixture
def files(settings: Any, tmp_path: Any) -> Any:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


# Deleting commits batch by batch: a test must not wrap it in a transaction of its own.
@pytest.mark.django_db(transaction=True)
def test_deleting_a_thread_leaves_nothing_of_the_conversation(client: Client, files: Any) -> None:
    client.force_login(make_operator())
    thread = conversation()
    asked = html(client, f"{THREADS}{thread.pk}/delete/")
    for counted in ("Threads: 1", "Items: 1", "Attachments: 1", "Texts of turns: 1"):
        assert counted in asked
    response = client.post(f"{THREADS}{thread.pk}/delete/", {"post": "yes"}, follow=True)
    assert "was deleted successfully" in response.content.decode()
    assert_nothing_is_left()
    assert not [path for path in files.rglob("*") if path.is_file()]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.user.get_username()) == (thread.key, "otto")


@pytest.mark.django_db(transaction=True)
def test_deleting_many_threads_leaves_nothing_of_them(client: Client, files: Any) -> None:
    client.force_login(make_operator())
    threads = [conversation(f"chatkit/{number}.txt") for number in range(3)]
    delete_selected(client, *threads)
    assert_nothing_is_left()


@pytest.mark.django_db(transaction=True)
def test_deleting_some_threads_leaves_the_others(client: Client, files: Any) -> None:
    client.force_login(
        make_operator("chatkit_endpoint.view_thread", "chatkit_endpoint.delete_thread")
    )
    gone, kept = conversation("chatkit/a.txt"), conversation("chatkit/b.txt")
    delete_selected(client, gone)
    assert Thread.objects.get() == kept
    assert ThreadItem.objects.get().thread == kept
    assert Turn.objects.with_text().get().thread_id == kept.key


@pytest.mark.django_db(transaction=True)
def test_a_thread_with_a_running_turn_is_deleted_too(client: Client, files: Any) -> None:
    client.force_login(make_operator())
    thread = conversation()
    make_turn(status="running", thread_id=thread.key, owner_key=thread.owner_key)
    client.post(f"{THREADS}{thread.pk}/delete/", {"post": "yes"})
    assert_nothing_is_left()


@pytest.mark.django_db(transaction=True)
def test_a_file_that_resists_is_told(
    client: Client, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(make_operator())
    thread = conversation()

    def resist(name: str) -> None:
        raise PermissionError

    monkeypatch.setattr(default_storage, "delete", resist)
    response = client.post(f"{THREADS}{thread.pk}/delete/", {"post": "yes"}, follow=True)
    assert "1 file could not be deleted." in response.content.decode()
    assert not Thread.objects.exists()
