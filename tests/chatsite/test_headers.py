"""What a browser is told that it may do on each kind of page."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings as site_settings
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from playwright.sync_api import Page, sync_playwright

from chatkit_endpoint.middleware import ContentSecurityPolicyMiddleware
from chatsite.csp import policy
from tests.servers import PASSWORD, Server, django_server

OPENAI = "https://cdn.platform.openai.com"
SCRIPT = f"{OPENAI}/deployments/chatkit/chatkit.js"
PAGES = {
    "login": "/accounts/login/",
    "chat": "/",
    "admin": "/admin/",
    "admin list": "/admin/observability/turn/",
    "dashboard": "/admin/observability/dashboard/",
    "admin form": "/admin/auth/user/add/",
    "missing": "/nowhere",
    "health": "/healthz",
    "chat endpoint": "/chatkit",
}


def directives(header: str) -> dict[str, set[str]]:
    return {words[0]: set(words[1:]) for words in map(str.split, header.split(";")) if words}


@pytest.fixture
def operator(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_each_page_says_what_it_may_load(operator: Client, path: str) -> None:
    headers = operator.get(path).headers
    found = directives(headers["Content-Security-Policy"])
    assert found == {
        "default-src": {"'self'"},
        "base-uri": {"'none'"},
        "connect-src": {"'self'"},
        "form-action": {"'self'"},
        "frame-ancestors": {"'none'"},
        "frame-src": {"'none'"},
        "img-src": {"'self'", "data:", "blob:"},
        "object-src": {"'none'"},
        "script-src": {"'self'"},
        "style-src": {"'self'"},
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "microphone" not in headers["Permissions-Policy"]


@pytest.mark.django_db(transaction=True)
async def test_an_answer_of_the_endpoint_says_it_too() -> None:
    response = await AsyncClient().post("/chatkit", b"{}", content_type="application/json")
    assert response.status_code == 401
    assert "'unsafe-inline'" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Permissions-Policy"]


def test_openai_s_hosts_are_named_only_where_its_element_is_in_use() -> None:
    assert not any("openai" in host for hosts in policy(None).values() for host in hosts)
    with_element = policy(SCRIPT)
    assert with_element["script-src"] == ["'self'", OPENAI]
    assert with_element["frame-src"] == [OPENAI]
    others = set(with_element) - {"script-src", "frame-src"}
    assert all(with_element[name] == policy(None)[name] for name in others)


def test_nothing_inline_runs_in_either_case() -> None:
    for found in (policy(None), policy(SCRIPT)):
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(found["script-src"])


def test_the_policy_is_the_middleware_s_that_this_django_has() -> None:
    import django

    is_own = django.VERSION >= (6, 0)
    assert hasattr(site_settings, "CONTENT_SECURITY_POLICY") != is_own
    assert ContentSecurityPolicyMiddleware.__mro__[2].__module__ == (
        "django.middleware.csp" if is_own else "csp.middleware"
    )


# -- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with django_server(tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(locale="en")
        context.set_default_timeout(30_000)
        yield context.new_page()
        browser.close()


@pytest.mark.browser
def test_no_page_breaks_its_policy(page: Page, site: Server) -> None:
    complaints: list[str] = []
    page.on(
        "console",
        lambda said: complaints.append(said.text) if "Content Security" in said.text else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(site.url)
    assert urlsplit(page.url).path == "/accounts/login/"
    page.get_by_label("User name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    composer = page.get_by_role("textbox", name="Message")
    composer.fill("What can you do?")
    composer.press("Enter")
    page.get_by_role("button", name="Send", exact=True).wait_for()
    assert page.locator(".assistant .text").last.inner_text()
    # The element's stylesheet, which it links in its shadow root, has been applied.
    assert composer.evaluate("each => getComputedStyle(each).resize") == "none"
    for path in (
        "/admin/",
        "/admin/observability/turn/",
        "/admin/observability/dashboard/",
        "/admin/observability/delivery/",
        "/admin/chatkit_endpoint/thread/",
        "/admin/auth/user/add/",
        "/admin/auth/user/?q=alice",
        "/admin/password_change/",
    ):
        page.goto(site.url + path)
    page.goto(f"{site.url}/admin/observability/turn/")
    page.locator("#result_list tbody a").first.click()
    page.goto(f"{site.url}/admin/auth/user/")
    page.get_by_role("link", name="alice").click()
    # Scripts of the admin's that build widgets: the chooser of permissions, the date shortcuts.
    page.locator(".selector-available").first.wait_for()
    page.locator(".datetimeshortcuts").first.wait_for()
    assert complaints == []


@pytest.mark.browser
def test_a_script_that_someone_got_into_a_page_does_not_run(page: Page, site: Server) -> None:
    page.goto(site.url)
    page.evaluate(
        "() => { const made = document.createElement('script');"
        " made.textContent = 'window.wasRun = true'; document.body.append(made); }"
    )
    assert page.evaluate("() => window.wasRun") is None
