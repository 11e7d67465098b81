"""The page on one's own data, as its visitor uses it: from the chat, without a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitor import Visitor, fill_in_login
from tests.servers import PASSWORD, Server

pytestmark = pytest.mark.browser

PROMPT = "What time is it in Tokyo, on a page of my own?"
LOOKS = {
    "light": {"locale": "en"},
    "phone": {"locale": "de", "viewport": {"width": 360, "height": 700}},
    "arabic phone": {"locale": "ar", "viewport": {"width": 360, "height": 700}},
}


@pytest.fixture
def page(browser: Browser, site: Server) -> Iterator[Page]:
    """Nothing runs in it but what the server sends."""
    with browser.new_context(locale="en", java_script_enabled=False) as context:
        yield context.new_page()


def test_from_the_chat_to_the_archive_and_to_nothing_left(
    alice: Visitor, page: Page, tmp_path: Path
) -> None:
    alice.ask_and_wait(PROMPT)
    link = alice.page.get_by_role("link", name="My data")
    page.goto(f"{alice.site.url}{link.get_attribute('href')}")
    fill_in_login(page, "alice")
    thread = page.get_by_role("listitem").filter(has_text=PROMPT).first
    expect(thread).to_contain_text("2 messages")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download everything").click()
    download.value.save_as(tmp_path / "mine.zip")
    archive = ZipFile(tmp_path / "mine.zip")
    assert archive.testzip() is None
    assert PROMPT in archive.read("items.jsonl").decode()
    assert PROMPT in archive.read("turns.jsonl").decode()

    thread.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete this conversation?")
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="Delete everything").click()
    page.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_role("status")).to_contain_text("deleted")
    expect(page.get_by_text("You have no conversations here.")).to_be_visible()
    rows = alice.site.query(
        "select prompt, response from observability_turn where prompt = %s", PROMPT
    )
    assert rows == []


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_it_fits_its_window_and_loads_all_that_it_names(
    browser: Browser, site: Server, look: dict[str, object]
) -> None:
    with browser.new_context(**look) as context:  # type: ignore[arg-type]
        visitor = Visitor(context, site)
        for path in ("", "erase/"):
            visitor.page.goto(f"{site.url}/chatkit/my-data/{path}")
            if path == "":
                visitor.page.locator("input[name=username]").fill("bob")
                visitor.page.locator("input[name=password]").fill(PASSWORD)
                visitor.page.keyboard.press("Enter")
            visitor.page.locator(".my-data h1").wait_for()
            assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            # The style sheet is there.
            assert visitor.page.evaluate("getComputedStyle(document.body).margin") == "0px"
        assert visitor.complaints == []
