"""What a site's own server sends beside text: widgets, questions, calls of the page's tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.visitor import Visitor
from tests.servers import Server, django_server

pytestmark = pytest.mark.browser

LOCATE = """options.onClientTool = async (call) => {
    window.calls = [...(window.calls ?? []), call];
    return { city: 'Riga' };
}"""


@pytest.fixture(scope="module")
def hotel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hotel")
    with django_server(folder, settings_module="tests.settings_concierge") as server:
        yield server


@pytest.fixture
def guest(browser: Browser, hotel: Server) -> Iterator[Visitor]:
    with browser.new_context(locale="en") as context:
        visitor = Visitor(context, hotel).sign_in()
        yield visitor
        assert visitor.complaints == []


def test_a_widgets_button_is_an_action_of_the_server(guest: Visitor) -> None:
    guest.ask("A room, please")
    widget = guest.page.locator(".widget")
    expect(widget).to_contain_text("Free")
    with guest.page.expect_request("**/chatkit") as asked:
        widget.get_by_role("button", name="Book").click()
    body: Any = asked.value.post_data_json
    assert body["type"] == "threads.custom_action"
    assert body["params"]["action"] == {"type": "book", "payload": {"room": 12}}
    expect(widget).to_contain_text("Booked")
    expect(guest.answers.last).to_have_text("Your room is booked.")
    assert body["params"]["item_id"] == widget.locator("xpath=..").get_attribute("data-id")
    guest.page.reload()
    expect(widget).to_contain_text("Booked")


def test_the_page_can_send_an_action_too(guest: Visitor) -> None:
    guest.ask("A room, please")
    expect(guest.page.locator(".widget")).to_contain_text("Free")
    expect(guest.button("Send")).to_be_visible()
    guest.element.evaluate("(element) => element.sendCustomAction({ type: 'book' })")
    expect(guest.answers.last).to_have_text("Your room is booked.")


# Every component that the element shows, sent as if the hotel's server had.
WIDGET = """{
    type: 'Card', status: { text: 'Draft' }, children: [
        { type: 'Title', value: 'Your stay' },
        { type: 'Caption', value: 'All prices in euros' },
        { type: 'Row', children: [
            { type: 'Text', value: 'From' }, { type: 'Badge', label: 'New', color: 'success' },
            { type: 'Icon', name: 'star' }] },
        { type: 'Divider' },
        { type: 'Image', src: 'javascript:alert(1)', alt: 'The lobby' },
        { type: 'Image', src: '/static/chatsite/icon.svg', alt: 'The logo' },
        { type: 'Markdown', value: '**Breakfast** is <b>included</b>' },
        { type: 'Button', label: 'Here', onClickAction: {
            type: 'local', payload: { a: 1 }, handler: 'client' } },
        { type: 'Form', onSubmitAction: { type: 'stay', payload: { room: 12 } }, children: [
            { type: 'Input', name: 'guest.name', placeholder: 'Name', required: true },
            { type: 'Textarea', name: 'wishes', placeholder: 'Wishes' },
            { type: 'Select', name: 'bed', defaultValue: 'wide', options: [
                { value: 'wide', label: 'Wide' }, { value: 'twin', label: 'Twin' }] },
            { type: 'Checkbox', name: 'late', label: 'Late arrival' },
            { type: 'Button', submit: true, label: 'Reserve' }] },
        { type: 'ListView', children: [
            { type: 'ListViewItem', onClickAction: { type: 'pick', payload: { n: 2 } },
              children: [{ type: 'Text', value: 'Second floor' }] }] },
    ],
}"""


def test_widgets_show_what_they_say_and_forms_send_what_was_filled_in(guest: Visitor) -> None:
    guest.set_options(
        f"""const send = options.api.fetch;
        options.widgets = {{ onAction: async (action, item) => {{
            window.acted = [action, item.id];
        }} }};
        options.api.fetch = async (url, init) => {{
            const response = await send(url, init);
            const text = await response.text();
            const widget = JSON.stringify({WIDGET});
            const sent = /"widget":\\{{.*?\\]\\}}/;
            return new Response(text.replace(sent, `"widget":${{widget}}`), response);
        }}"""
    )
    guest.ask("A room, please")
    widget = guest.page.locator(".widget")
    # Not all answers: what a widget says in Markdown looks like one.
    booked = guest.answers.filter(has_text="Your room is booked.")
    expect(widget).to_contain_text("Draft")
    for words in ("Your stay", "All prices in euros", "From", "New", "The lobby"):
        expect(widget.get_by_text(words)).to_be_visible()
    expect(widget.get_by_text("Breakfast is <b>included</b>")).to_be_visible()
    expect(widget.locator("img")).to_have_count(1)
    expect(guest.button("Send")).to_be_visible()

    widget.get_by_role("button", name="Here").click()
    item_id = widget.locator("xpath=..").get_attribute("data-id")
    expected = [{"type": "local", "payload": {"a": 1}}, item_id]
    assert guest.page.evaluate("window.acted") == expected

    with guest.page.expect_request("**/chatkit") as picked:
        widget.get_by_role("button", name="Second floor").click()
    body: Any = picked.value.post_data_json
    assert body["params"]["action"] == {"type": "pick", "payload": {"n": 2}}
    expect(booked).to_have_count(1)
    expect(guest.button("Send")).to_be_visible()

    widget.get_by_placeholder("Name").fill("Ada")
    widget.get_by_placeholder("Wishes").fill("A view")
    widget.get_by_role("combobox").select_option("twin")
    widget.get_by_label("Late arrival").check()
    with guest.page.expect_request("**/chatkit") as reserved:
        widget.get_by_role("button", name="Reserve").click()
    body = reserved.value.post_data_json
    assert body["params"]["action"] == {
        "type": "stay",
        "payload": {
            "room": 12,
            "guest": {"name": "Ada"},
            "wishes": "A view",
            "bed": "twin",
            "late": True,
        },
    }
    # The widget's fields are not taken for the composer's.
    expect(booked).to_have_count(2)
    expect(guest.button("Send")).to_be_visible()
    guest.ask("Thank you")
    expect(guest.questions.last).to_have_text("Thank you")


def test_a_tool_of_the_page_is_called_and_its_result_answered(guest: Visitor) -> None:
    guest.set_options(LOCATE)
    guest.ask("where am I?")
    expect(guest.answers.last).to_have_text("You are in Riga.")
    call = {"name": "get_location", "params": {"precise": False}}
    assert guest.page.evaluate("window.calls") == [call]


def test_a_tool_that_was_called_before_a_reload_is_called_after_it(guest: Visitor) -> None:
    # A page that was closed in mid call.
    guest.set_options(
        "options.onClientTool = () => { element.id += '-called'; return new Promise(() => {}) }"
    )
    guest.ask("where am I?")
    expect(guest.element).to_have_id("chatkit-called")
    thread = guest.page.evaluate("Object.values(sessionStorage)[0]")
    guest.page.evaluate("sessionStorage.clear()")
    guest.page.reload()
    guest.composer.wait_for()
    guest.set_options(LOCATE)
    guest.element.evaluate("(element, id) => element.setThreadId(id)", thread)
    expect(guest.answers.last).to_have_text("You are in Riga.")


def test_a_tool_that_fails_is_told_and_can_be_tried_again(browser: Browser, hotel: Server) -> None:
    with browser.new_context(locale="en") as context:
        visitor = Visitor(context, hotel).sign_in()
        visitor.set_options("options.onClientTool = () => { throw new Error('No satellites') }")
        visitor.record_events()
        visitor.ask("where am I?")
        alert = visitor.page.get_by_role("alert")
        expect(alert).to_contain_text("Something went wrong.")
        assert "error" in [name for name, _ in visitor.recorded_events()]
        visitor.set_options(LOCATE)
        visitor.element.evaluate("(element) => element.fetchUpdates()")
        expect(visitor.answers.last).to_have_text("You are in Riga.")
        assert any("No satellites" in complaint for complaint in visitor.complaints)


def test_questions_are_answered_in_a_form(guest: Visitor) -> None:
    guest.ask("a table")
    field = guest.page.get_by_role("textbox", name="At what time?")
    field.fill("At eight")
    guest.button("Submit").click()
    expect(guest.answers.last).to_have_text("A table for At eight.")
    expect(guest.page.get_by_role("group", name="At what time?")).to_contain_text("At eight")
    expect(guest.button("Submit")).to_have_count(0)
    guest.page.reload()
    expect(guest.page.get_by_role("group", name="At what time?")).to_contain_text("At eight")


def test_questions_can_be_skipped(guest: Visitor) -> None:
    guest.ask("a table")
    guest.button("Skip").click()
    expect(guest.page.get_by_role("group", name="At what time?")).to_contain_text("Skipped")


def test_a_plan_is_a_folded_list_of_tasks(guest: Visitor) -> None:
    guest.ask("a plan")
    expect(guest.page.get_by_text("at ten")).to_be_hidden()
    guest.page.locator("summary").click()
    expect(guest.page.get_by_text("at ten")).to_be_visible()
