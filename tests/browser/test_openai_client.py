"""The page with a domain key, where OpenAI's element takes the place of the built-in one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Request, Route, expect

from tests.browser.visitor import Visitor, fill_in_login
from tests.servers import Server, django_server

pytestmark = pytest.mark.browser

# Of ChatKitOptions in npm's @openai/chatkit 1.9, with what is inside; null: not looked into.
KNOWN = """{
    api: {
        url: null, fetch: null, domainKey: null, uploadStrategy: { type: null, uploadUrl: null },
    },
    commands: null,
    composer: {
        attachments: { enabled: null, maxSize: null, maxCount: null, accept: null },
        dictation: null, models: null, placeholder: null, tools: null,
    },
    disclaimer: { text: null, highContrast: null },
    entities: null,
    frameTitle: null,
    header: {
        enabled: null, title: { enabled: null, text: null }, leftAction: null, rightAction: null,
    },
    history: { enabled: null, showDelete: null, showRename: null },
    initialThread: null,
    locale: null,
    onClientTool: null,
    startScreen: { greeting: null, prompts: null },
    theme: { colorScheme: null, typography: null, radius: null, density: null, color: null },
    thread: { autoScroll: null },
    threadItemActions: { feedback: null, retry: null },
    widgets: { onAction: null },
}"""
# Stands in for the script on OpenAI's CDN. Like OpenAI's it refuses options that it doesn't know,
# and asks the server through what it was given.
STAND_IN = f"""
const KNOWN = {KNOWN};
function refuseUnknown(options, known) {{
    for (const [key, value] of Object.entries(options)) {{
        if (!(key in known)) throw new Error(`Unrecognized key: "${{key}}"`);
        if (known[key]) refuseUnknown(value, known[key]);
    }}
}}
customElements.define('openai-chatkit', class extends HTMLElement {{
    async setOptions(options) {{
        refuseUnknown(options, KNOWN);
        if (typeof options.api.domainKey !== 'string') throw new Error('Invalid input → at api');
        this.options = options;
        this.tell('ready');
        const response = await this.ask({{ type: 'threads.list', params: {{}} }});
        this.textContent = `${{response.status}} ${{await response.text()}}`;
    }}
    ask(body) {{
        const {{ api }} = this.options;
        const headers = {{ 'Content-Type': 'application/json' }};
        return api.fetch(api.url, {{ method: 'POST', headers, body: JSON.stringify(body) }});
    }}
    async chat(text) {{
        this.tell('log', {{ name: 'composer.submit', data: {{ text }} }});
        const input = {{
            content: [{{ type: 'input_text', text }}], attachments: [], inference_options: {{}},
        }};
        const response = await this.ask({{ type: 'threads.create', params: {{ input }} }});
        this.tell('response.start');
        const answer = await response.text();
        this.tell('thread.change', {{ threadId: answer.match(/thr_[0-9a-f]+/)[0] }});
        this.tell('response.end');
    }}
    async upload(name, text) {{
        const {{ api }} = this.options;
        const body = new FormData();
        body.append('file', new File([text], name, {{ type: 'text/plain' }}));
        const response = await api.fetch(api.uploadStrategy.uploadUrl, {{ method: 'POST', body }});
        return [response.status, await response.json()];
    }}
    tell(name, detail) {{
        this.dispatchEvent(new CustomEvent(`chatkit.${{name}}`, {{ detail }}));
    }}
}});
"""
SCRIPT_URL = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js"
# What a page of the site's adds that a template can't say.
CONFIGURE = """
document.addEventListener('chatkit.configure', ({ target, detail }) => {
    detail.options.onClientTool = async ({ name }) => ({ done: name });
    detail.options.header = { rightAction: { icon: 'close', onClick: () => target.remove() } };
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    with django_server(folder, CHATKIT_DOMAIN_KEY="domain_pk_test") as server:
        yield server


def stand_in(route: Route) -> None:
    route.fulfill(content_type="text/javascript", body=STAND_IN)


@contextmanager
def opened(
    browser: Browser,
    site: Server,
    *,
    answer: Callable[[Route], None] = stand_in,
    bypass_csp: bool = False,
    script: str = "",
) -> Iterator[Visitor]:
    """The chat page, alice signed in. ``answer`` is what becomes of the request for the script."""
    with browser.new_context(locale="en", color_scheme="dark", bypass_csp=bypass_csp) as context:
        context.route(SCRIPT_URL, answer)
        if script:
            context.add_init_script(script)
        visitor = Visitor(context, site)
        visitor.page.goto(f"{site.url}/accounts/login/?next=/")
        fill_in_login(visitor.page, "alice")
        if answer is stand_in:
            expect(visitor.element).to_contain_text("200")
        yield visitor


@pytest.fixture
def visitor(browser: Browser, site: Server) -> Iterator[Visitor]:
    with opened(browser, site) as visitor:
        yield visitor


def test_openais_element_gets_options_that_it_knows_and_a_fetch_that_signs_in(
    visitor: Visitor,
) -> None:
    expect(visitor.element).to_contain_text('200 {"data":[')
    options = visitor.element.evaluate("({ options }) => JSON.parse(JSON.stringify(options))")
    assert options["api"] == {
        "url": "/chatkit",
        "domainKey": "domain_pk_test",
        "uploadStrategy": {"type": "direct", "uploadUrl": "/chatkit/attachments/"},
    }
    assert options["theme"] == {"colorScheme": "dark"}
    assert options["locale"] == "en"
    assert options["threadItemActions"] == {"feedback": True, "retry": True}
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


def test_a_file_goes_up_with_the_visitors_login(visitor: Visitor) -> None:
    status, attachment = visitor.element.evaluate("(element) => element.upload('a.txt', 'Hello')")
    assert (status, attachment["name"]) == (200, "a.txt")


def test_a_script_of_the_page_adds_what_a_template_cannot_say(
    browser: Browser, site: Server
) -> None:
    with opened(browser, site, script=CONFIGURE) as visitor:
        given = """async ({ options }) => [
            await options.onClientTool({ name: 'pick', params: {} }),
            options.header.rightAction.icon,
            options.threadItemActions.retry,
        ]"""
        assert visitor.element.evaluate(given) == [{"done": "pick"}, "close", True]
        assert visitor.complaints == []


def events_of(visitor: Visitor) -> list[dict[str, Any]]:
    """What the page reports from now on, growing."""
    events: list[dict[str, Any]] = []

    def hear(request: Request) -> None:
        if request.url.endswith("/observability/api/events/"):
            events.extend(json.loads(request.post_data or "")["events"])

    visitor.page.on("request", hear)
    return events


def wait_for_event(visitor: Visitor, events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for _ in range(200):
        for event in events:
            if event["name"] == name:
                return event
        visitor.page.wait_for_timeout(50)
    raise AssertionError(f"{name} was not reported; there came {events}")


def test_its_answers_are_timed_and_joined_to_their_turns(visitor: Visitor, site: Server) -> None:
    events = events_of(visitor)
    visitor.element.evaluate("(element) => element.chat('A secret')")
    timing = wait_for_event(visitor, events, "client.timing")
    turn = site.wait_for_row(
        "select * from observability_turn where request_id = %s", timing["data"]["request_id"]
    )
    assert turn["thread_id"] == timing["thread_id"]
    assert timing["data"]["ttft_ms"] <= timing["data"]["total_ms"]
    assert "secret" not in json.dumps(events)


def abort(route: Route) -> None:
    route.abort()


def nothing(route: Route) -> None:
    route.fulfill(content_type="text/javascript", body="// Not the element.")


def test_where_the_script_does_not_load_the_built_in_element_takes_its_place(
    browser: Browser, site: Server
) -> None:
    with opened(browser, site, answer=abort) as visitor:
        events = events_of(visitor)
        visitor.composer.wait_for()
        assert visitor.ask_and_wait("Are you there?")
        wait_for_event(visitor, events, "client.timing")
        assert [event["name"] for event in events].count("client.fallback") == 1
        assert all("ERR_FAILED" in complaint for complaint in visitor.complaints)


# The page as CHATKIT_CLIENT=openai makes it, changed before chat.js reads what it says.
WITHOUT_FALLBACK = """
document.addEventListener('DOMContentLoaded', () => {
    const node = document.getElementById('chatkit-data');
    if (!node) return;
    const data = { ...JSON.parse(node.textContent), client: 'openai', builtin: undefined };
    node.textContent = JSON.stringify(data);
});
"""


def test_without_a_fallback_it_is_at_least_reported(browser: Browser, site: Server) -> None:
    with opened(browser, site, answer=abort, script=WITHOUT_FALLBACK) as visitor:
        events = events_of(visitor)
        error = wait_for_event(visitor, events, "chatkit.error")
        assert error["data"] == {"code": "script_failed"}
        assert not [event for event in events if event["name"] == "client.fallback"]
        expect(visitor.composer).to_have_count(0)


def test_a_script_that_brings_no_element_is_not_waited_for_longer_than_ten_seconds(
    browser: Browser, site: Server
) -> None:
    with opened(browser, site, answer=nothing, script="window.chatkitTest = true") as visitor:
        visitor.page.clock.install()
        visitor.page.reload()
        expect(visitor.element).to_be_attached()
        visitor.page.wait_for_load_state("load")
        visitor.page.clock.fast_forward(9_000)
        expect(visitor.composer).to_have_count(0)
        visitor.page.clock.fast_forward(1_500)
        visitor.composer.wait_for()
        assert visitor.complaints == []
