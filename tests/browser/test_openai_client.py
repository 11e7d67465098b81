"""The page with a domain key, where OpenAI's element takes the place of the built-in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.visitor import Visitor, fill_in_login
from tests.servers import Server, django_server

pytestmark = pytest.mark.browser

# Stands in for the script on OpenAI's CDN: keeps the options, and lists threads through them.
STAND_IN = """
customElements.define('openai-chatkit', class extends HTMLElement {
  async setOptions(options) {
    this.options = options;
    const body = JSON.stringify({ type: 'threads.list', params: {} });
    const headers = { 'Content-Type': 'application/json' };
    const response = await options.api.fetch(options.api.url, { method: 'POST', headers, body });
    this.textContent = `${response.status} ${await response.text()}`;
  }
});
"""
# Of ChatKitOptions in npm's @openai/chatkit 1.9: any other key makes OpenAI's element throw.
KNOWN = {
    "api",
    "commands",
    "composer",
    "disclaimer",
    "entities",
    "frameTitle",
    "header",
    "history",
    "initialThread",
    "locale",
    "onClientTool",
    "startScreen",
    "theme",
    "thread",
    "threadItemActions",
    "widgets",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    with django_server(folder, CHATKIT_DOMAIN_KEY="domain_pk_test") as server:
        yield server


@contextmanager
def opened(browser: Browser, site: Server, *, bypass_csp: bool = False) -> Iterator[Visitor]:
    """The chat page with the stand-in, alice signed in."""

    def answer(route: Route) -> None:
        route.fulfill(content_type="text/javascript", body=STAND_IN)

    with browser.new_context(locale="en", color_scheme="dark", bypass_csp=bypass_csp) as context:
        context.route("https://cdn.platform.openai.com/deployments/chatkit/chatkit.js", answer)
        visitor = Visitor(context, site)
        visitor.page.goto(site.url)
        fill_in_login(visitor.page, "alice")
        expect(visitor.element).to_contain_text("200")
        yield visitor


@pytest.fixture
def visitor(browser: Browser, site: Server) -> Iterator[Visitor]:
    with opened(browser, site) as visitor:
        yield visitor


def test_openais_element_gets_options_that_it_knows_and_a_fetch_that_signs_in(
    visitor: Visitor,
) -> None:
    expect(visitor.element).to_have_text('200 {"data":[],"has_more":false}')
    options = visitor.element.evaluate("({ options }) => JSON.parse(JSON.stringify(options))")
    assert options.keys() <= KNOWN
    assert options["api"] == {"url": "/chatkit", "domainKey": "domain_pk_test"}
    assert options["theme"] == "dark"
    assert visitor.complaints == []


def test_the_open_thread_is_remembered_for_openais_element_too(visitor: Visitor) -> None:
    visitor.element.evaluate(
        """(element) => element.dispatchEvent(
            new CustomEvent('chatkit.thread.change', { detail: { threadId: 'thr_1' } }))"""
    )
    visitor.page.reload()
    expect(visitor.element).to_contain_text("200")
    assert visitor.element.evaluate("(element) => element.options.initialThread") == "thr_1"


def test_tokens_are_for_our_own_server_only(browser: Browser, site: Server) -> None:
    """Also on a page of a site whose policy, unlike ours, lets a script ask elsewhere."""
    headers = {}

    def answer(route: Route) -> None:
        headers.update(route.request.headers)
        route.fulfill(body="", headers={"Access-Control-Allow-Origin": "*"})

    with opened(browser, site, bypass_csp=True) as visitor:
        visitor.context.route("https://elsewhere.example/**", answer)
        visitor.element.evaluate(
            "(element) => element.options.api.fetch('https://elsewhere.example/x')"
        )
    assert headers
    assert not {"x-csrftoken", "x-chatkit-session"} & headers.keys()
