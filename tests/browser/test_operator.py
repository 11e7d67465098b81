"""An operator who was told "at 14:05 it said error" looks for what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.visitor import PATIENCE, Visitor, fill_in_login
from tests.servers import Server, django_server

pytestmark = pytest.mark.browser

CAUSE = "The clock at clock.internal does not answer."


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("broken")
    with django_server(folder, settings_module="tests.settings_broken_clock") as server:
        yield server


@pytest.fixture(scope="module")
def complaint(browser: Browser, broken_site: Server) -> None:
    """What alice lived through, between two answers that went well."""
    with browser.new_context(locale="en") as context:
        alice = Visitor(context, broken_site).sign_in("alice")
        alice.ask_and_wait("Hello")
        alice.ask("What time is it?")
        alice.page.get_by_role("alert").first.wait_for()
        alice.page.reload()
        expect(alice.questions).to_have_count(2)  # The conversation is there again.
        alice.ask_and_wait("Hello again")


@pytest.fixture
def operator(browser: Browser, broken_site: Server, complaint: None) -> Iterator[Page]:
    with browser.new_context(locale="en") as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{broken_site.url}/admin/")
        fill_in_login(page, "operator")
        yield page


class Clicks:
    """A hand that counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, what: Locator) -> None:
        what.click()
        self.count += 1


def test_from_a_complaint_to_the_failing_tool_by_way_of_the_dashboard(operator: Page) -> None:
    click = Clicks()
    click(operator.get_by_role("link", name="Dashboard").first)
    failed = operator.get_by_role("region", name=re.compile("^Errors"))
    click(failed.get_by_role("row").filter(has_text="alice").get_by_role("link").first)
    tool = operator.get_by_role("row").filter(has_text="current_time")
    expect(tool.get_by_text("ConnectionError").first).to_be_visible()
    expect(operator.get_by_text(CAUSE).first).to_be_visible()
    assert click.count <= 4


def test_from_a_complaint_to_the_failing_tool_by_way_of_the_list(operator: Page) -> None:
    click = Clicks()
    click(operator.get_by_role("link", name="Turns", exact=True).first)
    click(operator.get_by_role("link", name="ended in an error"))
    click(operator.get_by_role("row").filter(has_text="alice").get_by_role("link").first)
    expect(operator.get_by_text(CAUSE).first).to_be_visible()
    assert click.count <= 4
