"""Pictures of the pages, under var/screenshots/, for people to look at; README's are two of them.

``make screenshots`` takes them anew and puts those two where README shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitor import Visitor
from tests.servers import PASSWORD, ROOT, Server

pytestmark = pytest.mark.browser

FOLDER = ROOT / "var" / "screenshots"
PROMPT = "What time is it in Tokyo?"
THANKS = "Thank you! What else can you do?"
LAPTOP = {"width": 1000, "height": 620}
PHONE = {"width": 390, "height": 780}
LOOKS: dict[str, dict[str, Any]] = {
    "chat": {"locale": "en", "viewport": LAPTOP},
    "chat-dark": {"locale": "en", "viewport": LAPTOP, "color_scheme": "dark"},
    "chat-phone": {"locale": "en", "viewport": PHONE, "has_touch": True},
    "chat-arabic": {"locale": "ar", "viewport": LAPTOP},
    "chat-arabic-phone": {"locale": "ar", "viewport": PHONE, "has_touch": True},
}


def take(page: Page, name: str) -> None:
    """Keep what the page shows, which must fit the window's width."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "It overflows."
    page.mouse.move(0, 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    assert is_picture(path)


def is_picture(path: Path) -> bool:
    """Whether there is more on it than one colour, which takes next to no bytes."""
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def guest(browser: Browser, site: Server, look: str) -> Iterator[Visitor]:
    with browser.new_context(**LOOKS[look]) as context:
        yield Visitor(context, site)


def test_the_chat_page(guest: Visitor, look: str) -> None:
    page = guest.page
    page.goto(guest.site.url)
    page.locator("input[name=username]").fill("bob")
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    composer = page.locator("openai-chatkit textarea")
    for number, prompt in enumerate((PROMPT, THANKS), start=1):
        composer.fill(prompt)
        composer.press("Enter")
        expect(guest.answers).to_have_count(number)
        expect(page.locator("button.send[type=submit]")).to_be_visible()
    take(page, look)


def test_the_admins_pages(browser: Browser, site: Server) -> None:
    with browser.new_context(locale="en", viewport={"width": 1200, "height": 1100}) as context:
        operator = Visitor(context, site).sign_in("operator")
        operator.ask_and_wait(PROMPT)
        # The page's bridge reports what it has seen before it goes.
        page = operator.page
        page.goto(f"{site.url}/admin/observability/turn/")
        take(page, "turns")
        page.get_by_role("link", name=PROMPT).first.click()
        page.get_by_role("heading", name="Steps").wait_for()
        take(page, "turn")
        page.goto(f"{site.url}/admin/observability/dashboard/")
        take(page, "dashboard")
