"""The chat page as a person lives it: real server, real Chromium, demo model."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Request, Route, expect

from tests.browser.visitor import Visitor, fill_in_login
from tests.servers import Server

pytestmark = pytest.mark.browser

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def test_a_visitor_signs_in_and_reads_the_answer_while_it_is_written(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.ask("What is a rainbow?")
    lengths: list[int] = []
    deadline = time.monotonic() + 15
    while not visitor.button("Send").is_visible() or not lengths:
        assert time.monotonic() < deadline
        if visitor.answers.count() and (length := len(visitor.answers.inner_text())):
            lengths += [length] if [length] != lengths[-1:] else []
    assert len(lengths) >= 3
    assert lengths == sorted(lengths)
    expect(visitor.answers).to_contain_text("“What is a rainbow?”")
    expect(visitor.questions).to_have_count(1)
    expect(visitor.page.get_by_role("alert")).to_have_count(0)
    assert visitor.complaints == []


def test_thoughts_are_folded_until_the_reader_opens_them(alice: Visitor) -> None:
    alice.ask_and_wait("What is a rainbow?")
    thought = alice.page.get_by_text("I am only a demo")
    expect(thought).to_be_hidden()
    alice.page.get_by_text(re.compile("Thought")).first.click()
    expect(thought).to_be_visible()


def test_progress_is_shown_until_the_text_comes(alice: Visitor) -> None:
    alice.ask("What time is it in Tokyo?")
    expect(alice.page.get_by_text("Looking at the clock…").last).to_be_visible()
    expect(alice.answers).to_contain_text("Asia/Tokyo")
    expect(alice.page.locator(".status")).to_be_hidden()


def test_stop_keeps_what_was_written_and_says_so(alice: Visitor) -> None:
    alice.ask("/long")
    expect(alice.answers).to_contain_text("word 20 ")
    alice.button("Stop").click()
    expect(alice.page.get_by_text("You stopped this answer.").first).to_be_visible()
    expect(alice.button("Send")).to_be_visible()
    written = alice.answers.inner_text()
    assert "word 1000 " not in written
    assert alice.ask_and_wait("And now?").startswith("You said: “And now?”")
    alice.page.reload()
    expect(alice.answers.first).to_contain_text("word 20 ")


def test_a_conversation_is_found_again_in_the_history_and_after_a_reload(alice: Visitor) -> None:
    alice.ask_and_wait("The first one")
    alice.button("New conversation").click()
    expect(alice.questions).to_have_count(0)
    expect(alice.page.get_by_role("heading", name="What can I help with today?")).to_be_visible()
    alice.ask_and_wait("The second one")
    alice.button("Earlier conversations").click()
    alice.page.get_by_role("dialog").get_by_role("button", name="The first one").first.click()
    expect(alice.questions).to_have_text(["The first one"])
    expect(alice.page.get_by_role("dialog")).to_be_hidden()
    alice.page.reload()
    expect(alice.questions).to_have_text(["The first one"])
    expect(alice.answers).to_have_text(re.compile("“The first one”"))


def test_a_long_conversation_is_loaded_whole_and_in_order(alice: Visitor) -> None:
    prompts = [f"Question {number}" for number in range(7)]
    for prompt in prompts:  # With a thought and an answer each: more than one page of 20 items.
        alice.ask_and_wait(prompt)
    alice.page.reload()
    expect(alice.questions).to_have_text(prompts)
    expect(alice.answers).to_have_count(7)


def test_a_remembered_conversation_of_another_login_is_just_a_new_start(visitor: Visitor) -> None:
    visitor.sign_in("alice").ask_and_wait("Private")
    visitor.page.get_by_role("button", name="Sign out").click()
    fill_in_login(visitor.page, "bob")
    expect(visitor.page.get_by_role("heading", name="What can I help with today?")).to_be_visible()
    expect(visitor.page.get_by_role("alert")).to_have_count(0)
    remembered = visitor.page.evaluate("sessionStorage.length")
    assert remembered == 0


def test_what_looks_like_html_stays_text(alice: Visitor) -> None:
    hostile = '<img src="x" onerror="document.title=1"><b>bold</b>'
    answer = alice.ask_and_wait(hostile)
    assert hostile in answer
    assert alice.page.locator(".items img, .items b").count() == 0


def test_enter_sends_and_shift_enter_and_an_input_method_do_not(alice: Visitor) -> None:
    alice.composer.press_sequentially("one")
    alice.composer.press("Shift+Enter")
    alice.composer.press_sequentially("two")
    alice.composer.evaluate(
        """(field) => field.dispatchEvent(new KeyboardEvent('keydown',
            { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"""
    )
    expect(alice.composer).to_have_value("one\ntwo")
    expect(alice.questions).to_have_count(0)
    alice.composer.press("Enter")
    expect(alice.questions).to_have_text(["one\ntwo"], use_inner_text=True)
    expect(alice.composer).to_have_value("")
    expect(alice.answers).to_contain_text("demo")


def test_a_failed_answer_can_be_asked_for_again(alice: Visitor) -> None:
    alice.ask("/error")
    alert = alice.page.get_by_role("alert")
    expect(alert).to_be_visible()
    with alice.page.expect_request("**/chatkit") as retried:
        alert.get_by_role("button", name="Try again").click()
    body: Any = retried.value.post_data_json
    assert body["type"] == "threads.retry_after_item"
    assert body["params"].keys() == {"thread_id", "item_id"}
    expect(alert).to_be_visible()
    expect(alice.questions).to_have_text(["/error"])


def test_an_expired_login_is_told_and_mended_without_losing_the_message(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.context.clear_cookies(name="sessionid")
    visitor.ask("Still there?")
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("Your login has expired")
    with visitor.context.expect_page() as opened:
        alert.get_by_role("link", name="Sign in").click()
    fill_in_login(opened.value, "alice")
    expect(opened.value.get_by_role("textbox", name="Message")).to_be_visible()
    alert.get_by_role("button", name="Try again").click()
    expect(visitor.answers).to_contain_text("“Still there?”")
    expect(visitor.questions).to_have_count(1)


def test_a_server_that_went_away_is_told_and_recovered_from(
    visitor: Visitor, mortal_site: Server
) -> None:
    visitor.sign_in()
    mortal_site.terminate()
    visitor.ask("Anybody there?")
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("can’t be reached")
    expect(visitor.page.get_by_text("Not sent")).to_be_visible()
    mortal_site.start()
    alert.get_by_role("button", name="Try again").click()
    expect(visitor.answers).to_contain_text("“Anybody there?”")
    expect(visitor.questions).to_have_count(1)
    expect(visitor.page.get_by_text("Not sent")).to_be_hidden()


def test_a_server_that_dies_in_mid_answer_leaves_the_text_and_an_error(
    visitor: Visitor, mortal_site: Server
) -> None:
    visitor.sign_in()
    visitor.ask("/long")
    expect(visitor.answers).to_contain_text("word 20 ")
    mortal_site.kill()
    expect(visitor.page.get_by_role("alert")).to_contain_text("can’t be reached")
    expect(visitor.answers).to_contain_text("word 20 ")


def test_a_message_that_the_server_refuses_returns_to_the_composer(visitor: Visitor) -> None:
    visitor.sign_in()
    too_long = "many words " * 91_000
    visitor.composer.fill(too_long)
    visitor.button("Send").click()
    expect(visitor.page.get_by_role("alert")).to_have_text("The message is too long.")
    expect(visitor.questions).to_have_count(0)
    assert visitor.composer.input_value() == too_long


def test_a_message_stopped_before_the_server_took_it_returns_to_the_composer(
    alice: Visitor,
) -> None:
    alice.page.route("**/chatkit", lambda route: None)  # Never answered.
    alice.ask("Too early")
    alice.button("Stop").click()
    expect(alice.composer).to_have_value("Too early")
    expect(alice.questions).to_have_count(0)
    expect(alice.page.get_by_role("heading", name="What can I help with today?")).to_be_visible()


def test_the_events_tell_the_page_what_happens_and_never_what_was_written(
    alice: Visitor,
) -> None:
    alice.record_events()
    alice.ask_and_wait("A secret")
    events = alice.recorded_events()
    thread_id = next(detail["threadId"] for name, detail in events if name == "thread.change")
    assert [(name, (detail or {}).get("name")) for name, detail in events] == [
        ("log", "composer.submit"),
        ("thread.change", None),
        ("response.start", None),
        ("log", "response.first_text"),
        ("response.end", None),
    ]
    assert thread_id.startswith("thr_")
    assert "secret" not in str(events)


def test_copying_an_answer_is_reported_as_a_message_action(browser: Browser, site: Server) -> None:
    with browser.new_context(locale="en", permissions=["clipboard-read", "clipboard-write"]) as own:
        visitor = Visitor(own, site).sign_in()
        answer = visitor.ask_and_wait("Copy me")
        visitor.record_events()
        visitor.button("Copy").click()
        expect(visitor.page.get_by_role("status").get_by_text("Copied")).to_be_attached()
        [(_, detail)] = visitor.recorded_events()
        copied = visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied == answer
    assert detail["name"] == "message.action"
    assert detail["data"]["action"] == "copy"
    assert detail["data"]["itemId"]


def test_a_page_can_drive_the_element_but_not_while_it_is_busy(alice: Visitor) -> None:
    call = """async (element, [method, argument]) => {
        try { await element[method](argument); } catch (error) { return error.message; }
        return 'done';
    }"""
    assert alice.element.evaluate(call, ["sendUserMessage", {"text": "/long"}]) == "done"
    expect(alice.answers).to_contain_text("word 2 ")
    for method in ("sendUserMessage", "setThreadId", "fetchUpdates"):
        assert "streaming" in alice.element.evaluate(call, [method, {"text": "x"}])
    alice.button("Stop").click()
    expect(alice.button("Send")).to_be_visible()
    assert alice.element.evaluate(call, ["setThreadId", None]) == "done"
    expect(alice.questions).to_have_count(0)
    assert alice.element.evaluate(call, ["showHistory", None]) == "done"
    expect(alice.page.get_by_role("dialog")).to_be_visible()
    assert alice.element.evaluate(call, ["hideHistory", None]) == "done"
    expect(alice.page.get_by_role("dialog")).to_be_hidden()


def test_each_request_says_who_asks(alice: Visitor) -> None:
    requests: list[Request] = []

    def keep(request: Request) -> None:  # Playwright can't listen with a built-in method.
        requests.append(request)

    alice.page.on("request", keep)
    alice.ask_and_wait("One")
    alice.ask_and_wait("Two")
    sent = [request.headers for request in requests if request.url.endswith("/chatkit")]
    assert len(sent) == 2
    assert len({headers["x-chatkit-session"] for headers in sent}) == 1
    assert str(UUID(sent[0]["x-chatkit-session"])) == sent[0]["x-chatkit-session"]
    assert all(headers["accept-language"] == "en" for headers in sent)
    assert all(headers["x-csrftoken"] for headers in sent)


def test_a_screen_reader_hears_the_answer_once_and_whole(alice: Visitor) -> None:
    expect(alice.page.get_by_role("log")).to_have_attribute("aria-live", "off")
    announcer = alice.page.locator(".unseen[role=status]")
    announcer.evaluate(
        """(node) => { window.heard = [];
            new MutationObserver(() => window.heard.push(node.textContent))
                .observe(node, { childList: true, characterData: true, subtree: true }); }"""
    )
    answer = alice.ask_and_wait("Say something")
    assert alice.page.evaluate("window.heard") == [answer]


def test_the_reader_is_followed_to_the_end_unless_they_scroll_away(alice: Visitor) -> None:
    alice.page.set_viewport_size({"width": 390, "height": 500})
    log = alice.page.get_by_role("log")
    to_the_end = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
    alice.ask("/long")
    expect(alice.answers).to_contain_text("word 90 ")
    assert log.evaluate("(log) => log.scrollHeight > log.clientHeight")
    assert log.evaluate(to_the_end) < 48
    log.hover()
    alice.page.mouse.wheel(0, -2000)
    expect(alice.button("Jump to the end")).to_be_visible()
    top = log.evaluate("(log) => log.scrollTop")
    expect(alice.answers).to_contain_text("word 120 ")
    assert log.evaluate("(log) => log.scrollTop") <= top
    alice.button("Jump to the end").click()
    expect(alice.button("Jump to the end")).to_be_hidden()
    alice.button("Stop").click()


def test_the_history_takes_the_focus_and_escape_gives_it_back(alice: Visitor) -> None:
    expect(alice.composer).to_be_focused()
    alice.button("Earlier conversations").press("Enter")
    expect(alice.button("Close")).to_be_focused()
    alice.page.keyboard.press("Escape")
    expect(alice.page.get_by_role("dialog")).to_be_hidden()
    expect(alice.button("Earlier conversations")).to_be_focused()


def test_it_works_under_a_strict_content_security_policy(visitor: Visitor) -> None:
    def add_policy(route: Route) -> None:
        response = route.fetch(max_redirects=0)
        headers = {**response.headers, "content-security-policy": STRICT}
        route.fulfill(response=response, headers=headers)

    visitor.page.route(re.compile(r"/(accounts/login/.*)?$"), add_policy)
    visitor.sign_in()
    visitor.ask_and_wait("Is this allowed?")
    visitor.button("Earlier conversations").click()
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    assert visitor.complaints == []


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(alice: Visitor, width: int) -> None:
    alice.page.set_viewport_size({"width": width, "height": 640})
    alice.ask_and_wait("A_word_that_does_not_break_" * 8)
    assert alice.page.evaluate("document.documentElement.scrollWidth") <= width
    log = alice.page.get_by_role("log")
    assert log.evaluate("(log) => log.scrollWidth - log.clientWidth") <= 0
    for name in ("Send", "New conversation", "Earlier conversations"):
        expect(alice.button(name)).to_be_in_viewport(ratio=1)
