from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.visitor import ARGUMENTS, PATIENCE, Visitor
from tests.servers import Server, django_server


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with django_server(tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture
def mortal_site(site: Server) -> Iterator[Server]:
    """The site, for a test that ends it: the next one finds it running."""
    yield site
    if site.process.poll() is not None:
        site.start()


# Playwright's event loop, once started, is in the way of other tests' own: so it ends with the
# module.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Browser, site: Server) -> Iterator[Visitor]:
    """Somebody who has not signed in yet."""
    with browser.new_context(locale="en") as context:
        yield Visitor(context, site)


@pytest.fixture
def alice(visitor: Visitor) -> Iterator[Visitor]:
    """Signed in, with the chat in front of her; her console must not complain."""
    yield visitor.sign_in("alice")
    assert visitor.complaints == []
