"""What a reader does with answers and conversations: rate, ask again, rename, delete."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser


def requests_of(page: Page, operation: str) -> list[Any]:
    """The params of that operation's requests, which the list gets as they are sent."""
    found: list[Any] = []

    def keep(request: Request) -> None:
        body = request.post_data_json if request.url.endswith("/chatkit") else None
        if body and body["type"] == operation:
            found.append(body["params"])

    page.on("request", keep)
    return found


def rows(visitor: Visitor) -> Locator:
    return visitor.page.get_by_role("dialog").get_by_role("listitem")


def row(visitor: Visitor, title: str) -> Locator:
    return rows(visitor).filter(has_text=title)


def test_a_thumb_is_sent_kept_pressed_and_can_be_changed(alice: Visitor) -> None:
    alice.set_options(threadItemActions={"feedback": True})
    alice.ask_and_wait("Rate me")
    alice.record_events()
    sent = requests_of(alice.page, "items.feedback")
    good, bad = alice.button("Good answer"), alice.button("Bad answer")
    expect(good).to_have_attribute("aria-pressed", "false")
    with alice.page.expect_response("**/chatkit") as answered:
        good.click()
    assert answered.value.status == 200
    expect(good).to_have_attribute("aria-pressed", "true")
    with alice.page.expect_response("**/chatkit"):
        bad.click()
    expect(good).to_have_attribute("aria-pressed", "false")
    expect(bad).to_have_attribute("aria-pressed", "true")
    assert [params["kind"] for params in sent] == ["positive", "negative"]
    [item_id] = {one for params in sent for one in params["item_ids"]}
    assert [detail["data"] for _, detail in alice.recorded_events()] == [
        {
            "threadId": sent[0]["thread_id"],
            "action": f"feedback_{params['kind']}",
            "itemId": item_id,
        }
        for params in sent
    ]


def test_a_thumb_that_the_server_did_not_take_is_not_pressed(alice: Visitor) -> None:
    alice.set_options(threadItemActions={"feedback": True})
    alice.ask_and_wait("Rate me")
    alice.page.route("**/chatkit", lambda route: route.abort())
    alice.button("Good answer").click()
    expect(alice.page.get_by_role("alert")).to_contain_text("can’t be reached")
    expect(alice.button("Good answer")).to_have_attribute("aria-pressed", "false")
    alice.complaints.clear()  # Chromium's own, about the request.


def test_actions_that_are_off_have_no_button(alice: Visitor) -> None:
    alice.set_options(threadItemActions=None, history={"enabled": False})
    alice.ask_and_wait("Nothing to do")
    expect(alice.button("Copy")).to_be_visible()
    for name in ("Good answer", "Bad answer", "Answer again", "Earlier conversations"):
        expect(alice.button(name)).to_have_count(0)


def test_an_answer_is_written_again_in_its_place(alice: Visitor) -> None:
    alice.set_options(threadItemActions={"retry": True})
    alice.ask_and_wait("First")
    alice.ask_and_wait("Second")
    alice.record_events()
    sent = requests_of(alice.page, "threads.retry_after_item")
    # Only the last answer: to write an earlier one anew would take away what came after it.
    expect(alice.button("Answer again")).to_have_count(1)
    alice.button("Answer again").click()
    expect(alice.button("Stop")).to_be_visible()
    expect(alice.button("Send")).to_be_visible()
    expect(alice.questions).to_have_text(["First", "Second"])
    expect(alice.answers).to_have_count(2)
    assert len(sent) == 1
    events = alice.recorded_events()
    assert [name for name, _ in events] == ["log", "response.start", "log", "response.end"]
    assert events[0][1]["data"]["action"] == "retry"
    assert events[0][1]["data"]["threadId"] == sent[0]["thread_id"]
    assert sent[0]["item_id"].startswith("msg_")
    alice.page.reload()
    expect(alice.answers).to_have_count(2)


def test_a_conversation_is_renamed_by_keyboard(alice: Visitor) -> None:
    alice.ask_and_wait("Old title")
    alice.button("Earlier conversations").click()
    row(alice, "Old title").get_by_role("button", name="Rename").first.press("Enter")
    field = alice.page.get_by_role("textbox", name="Rename")
    expect(field).to_be_focused()
    field.fill("New title")
    with alice.page.expect_response("**/chatkit"):
        field.press("Enter")
    expect(row(alice, "New title")).to_be_visible()
    expect(row(alice, "New title").get_by_role("button", name="Rename")).to_be_focused()
    alice.page.keyboard.press("Escape")
    expect(alice.page.get_by_role("heading", name="New title")).to_be_visible()
    alice.page.reload()
    expect(alice.page.get_by_role("heading", name="New title")).to_be_visible()


def test_escape_leaves_the_name_as_it_is_and_the_panel_open(alice: Visitor) -> None:
    alice.ask_and_wait("Keep this name")
    alice.button("Earlier conversations").click()
    row(alice, "Keep this name").get_by_role("button", name="Rename").click()
    field = alice.page.get_by_role("textbox", name="Rename")
    field.fill("Something else")
    field.press("Escape")
    expect(row(alice, "Keep this name").get_by_role("button", name="Rename")).to_be_focused()
    alice.page.keyboard.press("Escape")
    expect(alice.page.get_by_role("dialog")).to_be_hidden()


def test_the_open_conversation_is_deleted_after_a_question(alice: Visitor) -> None:
    alice.ask_and_wait("Away with it")
    alice.record_events()
    alice.button("Earlier conversations").click()
    row(alice, "Away with it").get_by_role("button", name="Delete", exact=True).click()
    question = alice.page.get_by_text("Delete this conversation?")
    expect(question).to_be_visible()
    alice.page.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    expect(row(alice, "Away with it")).to_be_visible()
    row(alice, "Away with it").get_by_role("button", name="Delete", exact=True).click()
    with alice.page.expect_response("**/chatkit"):
        rows(alice).filter(has=question).get_by_role("button", name="Delete", exact=True).click()
    expect(row(alice, "Away with it")).to_have_count(0)
    assert ["thread.change", {"threadId": None}] in [list(one) for one in alice.recorded_events()]
    alice.page.keyboard.press("Escape")
    expect(alice.questions).to_have_count(0)
    expect(alice.page.get_by_role("heading", name="What can I help with today?")).to_be_visible()
    alice.page.reload()
    expect(alice.page.get_by_role("heading", name="What can I help with today?")).to_be_visible()


def test_an_option_takes_rename_and_delete_away(alice: Visitor) -> None:
    alice.set_options(history={"enabled": True, "showRename": False, "showDelete": False})
    alice.ask_and_wait("Look only")
    alice.button("Earlier conversations").click()
    expect(row(alice, "Look only").first).to_be_visible()
    expect(rows(alice).first.get_by_role("button")).to_have_count(1)
