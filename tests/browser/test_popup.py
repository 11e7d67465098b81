"""The chat in the corner of a page: ``{% chatkit_popup %}``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Request, expect

from tests.browser.visitor import Visitor
from tests.servers import Server, django_server

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 700}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    with django_server(folder, settings_module="tests.settings_corner") as server:
        yield server


@pytest.fixture
def shopper(alice: Visitor) -> Visitor:
    alice.page.goto(f"{alice.site.url}/corner/")
    expect(toggle(alice)).to_be_visible()
    return alice


def toggle(visitor: Visitor) -> Locator:
    return visitor.page.locator(".chatkit-popup-toggle")


def panel(visitor: Visitor) -> Locator:
    return visitor.page.locator(".chatkit-popup-panel")


def box(locator: Locator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge, in CSS pixels."""
    found = locator.bounding_box()
    assert found is not None
    x, y, width, height = found["x"], found["y"], found["width"], found["height"]
    return x, y, x + width, y + height


def test_the_chat_is_loaded_when_it_is_first_opened(shopper: Visitor) -> None:
    loaded: list[str] = []

    def keep(request: Request) -> None:
        loaded.append(request.url.rpartition("/")[2])

    shopper.page.on("request", keep)
    shopper.page.reload()
    shopper.page.wait_for_load_state("networkidle")
    assert "element.js" not in loaded
    toggle(shopper).click()
    expect(shopper.page.get_by_role("heading", name="How can we help?")).to_be_visible()
    assert loaded.count("element.js") == 1
    assert shopper.ask_and_wait("Hello from the corner")


def test_the_keyboard_opens_it_writes_in_it_and_closes_it(shopper: Visitor) -> None:
    expect(toggle(shopper)).to_have_attribute("aria-expanded", "false")
    toggle(shopper).focus()
    shopper.page.keyboard.press("Enter")
    expect(toggle(shopper)).to_have_attribute("aria-expanded", "true")
    expect(shopper.page.get_by_role("dialog", name="Chat")).to_be_visible()
    expect(shopper.composer).to_be_focused()
    shopper.page.keyboard.press("Escape")
    expect(panel(shopper)).to_be_hidden()
    expect(toggle(shopper)).to_be_focused()
    expect(toggle(shopper)).to_have_attribute("aria-expanded", "false")
    shopper.page.keyboard.press("Enter")
    expect(shopper.composer).to_be_focused()


def test_escape_closes_the_history_first(shopper: Visitor) -> None:
    toggle(shopper).click()
    shopper.button("Earlier conversations").click()
    history = shopper.page.locator("openai-chatkit").get_by_role("dialog")
    expect(history).to_be_visible()
    shopper.page.keyboard.press("Escape")
    expect(history).to_be_hidden()
    expect(panel(shopper)).to_be_visible()
    shopper.page.keyboard.press("Escape")
    expect(panel(shopper)).to_be_hidden()


def test_what_was_written_is_still_there_when_it_opens_again(shopper: Visitor) -> None:
    toggle(shopper).click()
    shopper.composer.fill("Not sent yet")
    panel(shopper).get_by_role("button", name="Close", exact=True).first.click()
    expect(panel(shopper)).to_be_hidden()
    expect(toggle(shopper)).to_be_focused()
    toggle(shopper).click()
    expect(shopper.composer).to_have_value("Not sent yet")


def test_it_stands_in_the_corner_where_lines_end(shopper: Visitor, browser: Browser) -> None:
    shopper.page.set_viewport_size({"width": 1000, "height": 600})
    toggle(shopper).click()
    shopper.composer.wait_for()
    left, top, right, bottom = box(panel(shopper))
    assert left > 500
    assert right < 1000
    assert top >= 0
    assert bottom <= box(toggle(shopper))[1]
    with browser.new_context(locale="ar", storage_state=shopper.context.storage_state()) as context:
        other = Visitor(context, shopper.site)
        other.page.set_viewport_size({"width": 1000, "height": 600})
        # The page's own language is the browser's only where the site has it.
        other.page.goto(f"{other.site.url}/corner/")
        other.page.evaluate("document.querySelector('.chatkit-popup').dir = 'rtl'")
        toggle(other).click()
        assert box(toggle(other))[2] < 200
        assert box(panel(other))[2] < 500


@pytest.mark.parametrize("height", [700, 300])
def test_on_a_phone_it_is_all_of_the_screen(shopper: Visitor, height: int) -> None:
    width = PHONE["width"] if height == PHONE["height"] else 700
    shopper.page.set_viewport_size({"width": width, "height": height})
    toggle(shopper).click()
    shopper.composer.wait_for()
    assert box(panel(shopper)) == (0, 0, width, height)
    assert box(shopper.composer)[3] <= height
    assert shopper.page.evaluate("document.documentElement.scrollWidth") <= width
    panel(shopper).get_by_role("button", name="Close", exact=True).first.click()
    expect(panel(shopper)).to_be_hidden()


def test_a_script_anywhere_on_the_page_configures_the_chat(alice: Visitor) -> None:
    alice.page.goto(f"{alice.site.url}/middle/")
    expect(alice.page.get_by_role("heading", name="Hello from chatkit")).to_be_visible()
