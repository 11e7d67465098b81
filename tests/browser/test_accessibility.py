"""axe-core looks at every page that is ours, in the light and in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitor import Visitor
from tests.servers import Server

pytestmark = [pytest.mark.browser, pytest.mark.node]

SERIOUS = ("serious", "critical")
# Django's search box has the text of a picture for its label, which that rule does not count.
OPTIONS = {"rules": {"label-title-only": {"enabled": False}}}
ADMIN_PAGES = (
    "/admin/",
    "/admin/observability/turn/",
    "/admin/observability/dashboard/",
    "/admin/observability/delivery/",
    "/admin/observability/clientevent/",
    "/admin/observability/contentaccess/",
    "/admin/observability/endpointrequest/",
    "/admin/observability/hold/",
    "/admin/observability/retentionrun/",
    "/admin/chatkit_endpoint/thread/",
)


@pytest.fixture(scope="module")
def axe(node_modules: Path) -> str:
    return (node_modules / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(params=["light", "dark"])
def visitor(request: pytest.FixtureRequest, browser: Browser, site: Server) -> Iterator[Visitor]:
    with browser.new_context(
        locale="en", color_scheme=request.param, reduced_motion="reduce"
    ) as context:
        yield Visitor(context, site)


def violations(page: Page, axe: str) -> list[str]:
    """What axe finds serious, each with where it is and why."""
    # Evaluated, not inserted: the pages' own policy refuses foreign scripts.
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("(options) => axe.run(document, options)", OPTIONS)
    assert found["passes"], "axe has looked at nothing"
    return [
        f"{violation['id']}: {violation['help']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def test_the_login_page(visitor: Visitor, axe: str) -> None:
    visitor.page.goto(visitor.site.url)
    visitor.button("Sign in").wait_for()
    assert violations(visitor.page, axe) == []


def test_the_chat_page(visitor: Visitor, axe: str) -> None:
    visitor.sign_in("alice")
    page = visitor.page
    assert violations(page, axe) == []
    visitor.ask_and_wait("What time is it in Tokyo?")
    assert violations(page, axe) == []
    visitor.button("Earlier conversations").click()
    expect(page.get_by_role("dialog").or_(page.get_by_role("region")).first).to_be_visible()
    assert violations(page, axe) == []


def test_the_page_on_ones_own_data(visitor: Visitor, axe: str) -> None:
    visitor.sign_in("bob")
    page = visitor.page
    page.goto(f"{visitor.site.url}/chatkit/my-data/")
    assert violations(page, axe) == []
    page.goto(visitor.site.url)
    visitor.ask_and_wait("Hello")
    page.goto(f"{visitor.site.url}/chatkit/my-data/")
    assert violations(page, axe) == []
    page.get_by_role("link", name="Delete…").first.click()
    page.get_by_role("heading", level=1).wait_for()
    assert violations(page, axe) == []


def test_an_error_in_the_chat(visitor: Visitor, axe: str) -> None:
    visitor.sign_in("alice")
    visitor.ask("/error")
    visitor.page.get_by_role("alert").first.wait_for()
    assert violations(visitor.page, axe) == []


def test_the_admins_pages(visitor: Visitor, axe: str) -> None:
    visitor.sign_in("operator")
    visitor.ask_and_wait("What time is it in Tokyo?")
    visitor.ask("/error")
    visitor.page.get_by_role("alert").first.wait_for()
    page, url = visitor.page, visitor.site.url
    for path in ADMIN_PAGES:
        page.goto(url + path)
        assert violations(page, axe) == [], path
    page.goto(url + "/admin/observability/turn/")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("heading", name="Steps").wait_for()
    assert violations(page, axe) == [], "a turn"
    for link in ("thread/", "session/", "owner/"):
        turn = page.url
        page.locator(f".obs-facts a[href*='/turn/{link}']").click()
        page.get_by_role("heading", level=1).wait_for()
        assert violations(page, axe) == [], link
        page.goto(turn)
    page.goto(url + "/admin/chatkit_endpoint/thread/")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("heading", level=1).wait_for()
    assert violations(page, axe) == [], "a thread"
