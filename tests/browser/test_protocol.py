"""The element's reading of server-sent events, in the browser that runs it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

# Serves `bytes`, cut after every `size` of them, as the answer to a streaming request.
READ = """async ({ bytes, size }) => {
    const { Protocol } = await import('/static/chatkit_endpoint/protocol.js');
    const body = new ReadableStream({
        start(controller) {
            for (let at = 0; at < bytes.length; at += size) {
                controller.enqueue(new Uint8Array(bytes.slice(at, at + size)));
            }
            controller.close();
        },
    });
    const headers = { 'Content-Type': 'text/event-stream' };
    const api = { url: '/chatkit', fetch: async () => new Response(body, { headers }) };
    const events = [];
    const stream = new Protocol(api).stream('threads.create', {}, new AbortController().signal);
    for await (const event of stream) events.push(event);
    return events;
}"""

WIRE = (
    ": a comment\n\n"
    'data: {"text":"naïve — 日本語 🌈"}\n\n'
    'event: ignored\r\nid: 7\r\ndata:{"n":2}\r\n\r\n'
    'data: {"lines":\r\ndata: [1,\r\ndata: 2]}\r\n\r\n'
    ":\n\n\n"
    'data: {"cut off": tru'
)
EVENTS = [{"text": "naïve — 日本語 🌈"}, {"n": 2}, {"lines": [1, 2]}]


@pytest.fixture
def page(visitor: Visitor) -> Page:
    visitor.page.goto(f"{visitor.site.url}/accounts/login/")
    return visitor.page


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_events_are_the_same_wherever_the_chunks_break(page: Page, size: int) -> None:
    assert page.evaluate(READ, {"bytes": list(WIRE.encode()), "size": size}) == EVENTS


HTML = "{ headers: { 'Content-Type': 'text/html' } }"
REFUSAL = "{ error: { code: 'csrf_failed', message: 'Reload.' } }"


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (f"new Response('<h1>Login', {HTML})", [502, "", "http"]),
        ("new Response('<h1>Oh no', { status: 500 })", [500, "", "http"]),
        (f"Response.json({REFUSAL}, {{ status: 403 }})", [403, "Reload.", "csrf_failed"]),
        ("(() => { throw new TypeError('Failed to fetch'); })()", [0, "", "network"]),
    ],
)
def test_what_goes_wrong_has_a_status_and_the_servers_words(
    page: Page, response: str, error: list[object]
) -> None:
    found = page.evaluate(
        f"""async () => {{
            const {{ Protocol }} = await import('/static/chatkit_endpoint/protocol.js');
            const api = {{ url: '/chatkit', fetch: async () => {response} }};
            try {{ await new Protocol(api).request('threads.list', {{}}); }}
            catch (error) {{ return [error.status, error.message, error.code]; }}
        }}"""
    )
    assert found == error
