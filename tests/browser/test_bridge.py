"""What a visitor lives through, as the page reports it to the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.visitor import Visitor
from tests.servers import Server, wait_until

pytestmark = pytest.mark.browser

EVENTS_URL = "**/observability/api/events/"
AGREEMENT_MS = 250


def reported(site: Server, session_id: str) -> list[dict[str, Any]]:
    """The events of a page load that the server has, in the order in which they happened."""
    rows = site.query(
        "select * from observability_clientevent where session_id = %s order by occurred_at",
        session_id,
    )
    # PostgreSQL has a type for it, SQLite only its text.
    for row in rows:
        if isinstance(row["data"], str):
            row["data"] = json.loads(row["data"])
    return rows


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["name"] for event in events]


class Wire:
    """What a page sends to the chat and to the bridge's address."""

    def __init__(self, page: Page) -> None:
        self.batches: list[dict[str, Any]] = []
        self.bodies: list[str] = []
        self.session_id = ""
        page.on("request", self._hear)

    def _hear(self, request: Request) -> None:
        if request.url.endswith("/observability/api/events/"):
            self.bodies.append(request.post_data or "")
            self.batches.append(json.loads(self.bodies[-1]))
            self.session_id = self.batches[-1]["session_id"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch["events"]]

    def wait_for(self, page: Page, name: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th event of that name, once it has been sent."""
        for _ in range(200):
            found = [event for event in self.events if event["name"] == name]
            if len(found) >= count:
                return found[count - 1]
            page.wait_for_timeout(50)
        raise AssertionError(f"{name} was not sent; there came {names(self.events)}")


@pytest.fixture
def wire(visitor: Visitor) -> Wire:
    return Wire(visitor.page)


def test_an_answer_is_reported_from_the_submit_to_its_end_and_no_word_of_it(
    wire: Wire, alice: Visitor, site: Server
) -> None:
    alice.ask_and_wait("A secret of mine")
    timing = wire.wait_for(alice.page, "client.timing")
    wait_until(lambda: "client.timing" in names(reported(site, wire.session_id)), 10, "the timing")
    events = reported(site, wire.session_id)
    about_the_answer = [
        "composer.submit",
        "chatkit.thread.change",
        "chatkit.response.start",
        "response.first_text",
        "chatkit.response.end",
        "client.timing",
    ]
    assert [name for name in names(events) if name in about_the_answer] == about_the_answer
    assert "chatkit.ready" in names(events)
    assert timing["thread_id"].startswith("thr_")
    assert {event["thread_id"] for event in events[-3:]} == {timing["thread_id"]}
    said = " ".join(wire.bodies)
    assert "secret" not in said
    assert alice.answers.last.inner_text()[:12] not in said


def test_the_browsers_figures_agree_with_the_servers(
    wire: Wire, alice: Visitor, site: Server
) -> None:
    """Of one answer in four: a busy machine delays some, a wrong clock all of them.

    The first one isn't among them: it also pays for what its process imports then.
    """
    alice.ask_and_wait("What can you do?")
    wire.wait_for(alice.page, "client.timing")
    seen = []
    for count in range(2, 6):
        alice.ask_and_wait("And again?")
        data = wire.wait_for(alice.page, "client.timing", count)["data"]
        turn = site.wait_for_row(
            "select * from observability_turn where request_id = %s"
            " and status = 'completed' and client_ttft_ms is not null",
            data["request_id"],
        )
        assert turn["client_ttft_ms"] == pytest.approx(data["ttft_ms"], abs=1)
        assert data["ttft_ms"] + data["duration_ms"] == pytest.approx(data["total_ms"], abs=1)
        figures = ("ttft_ms", "duration_ms", "total_ms")
        seen.append({name: (data[name], turn[name]) for name in figures})
        if all(abs(ours - theirs) < AGREEMENT_MS for ours, theirs in seen[-1].values()):
            return
    raise AssertionError(f"Browser's and server's figures: {seen}")


def test_what_happened_last_is_sent_when_the_visitor_leaves(
    wire: Wire, alice: Visitor, site: Server
) -> None:
    wire.wait_for(alice.page, "chatkit.ready")
    alice.button("Earlier conversations").click()
    expect(alice.page.get_by_role("dialog")).to_be_visible()
    alice.page.goto("about:blank")
    wait_until(
        lambda: "chatkit.history.open" in names(reported(site, wire.session_id)),
        10,
        "the last event",
    )


def test_a_server_that_cannot_take_events_gets_them_later_and_the_chat_goes_on(
    wire: Wire, visitor: Visitor
) -> None:
    refused: list[list[str]] = []

    def answer(route: Route) -> None:
        if len(refused) < 1:
            refused.append(names(json.loads(route.request.post_data or "")["events"]))
            route.fulfill(status=503, body="")
        else:
            route.continue_()

    visitor.page.route(EVENTS_URL, answer)
    visitor.sign_in()
    for _ in range(200):
        if len(wire.batches) >= 2:
            break
        visitor.ask_and_wait("Still here")
    first, second = wire.batches[:2]
    assert second["events"][: len(first["events"])] == first["events"]
    assert all("503" in complaint for complaint in visitor.complaints)


# -- the reporter on its own, with a clock that is turned by hand ---------------------------------

REPORT = """async ({ answers, adds }) => {
    const { Reporter } = await import('/static/chatkit_endpoint/reporter.js');
    window.sent = [];
    const fetch = async (url, { body, keepalive }) => {
        window.sent.push(JSON.parse(body).events.map(({ name }) => name));
        const { status, headers } = answers[window.sent.length - 1] ?? { status: 202 };
        if (status === 0) throw new TypeError('Failed to fetch');
        return new Response(null, { status, headers });
    };
    window.reporter = new Reporter('/events/', 'a-session', fetch);
    for (let n = 0; n < adds; n += 1) window.reporter.add({ name: `e${n}` });
}"""


@pytest.fixture
def page(visitor: Visitor) -> Page:
    visitor.page.goto(f"{visitor.site.url}/accounts/login/")
    visitor.page.clock.install()
    return visitor.page


def sent(page: Page) -> list[list[str]]:
    found: list[list[str]] = page.evaluate("window.sent")
    return found


def test_events_are_sent_together(page: Page) -> None:
    page.evaluate(REPORT, {"answers": [], "adds": 3})
    assert sent(page) == []
    page.clock.run_for(2500)
    assert sent(page) == [["e0", "e1", "e2"]]
    page.evaluate("window.reporter.add({ name: 'later' })")
    page.clock.run_for(2500)
    assert sent(page)[1:] == [["later"]]


def test_many_events_do_not_wait(page: Page) -> None:
    page.evaluate(REPORT, {"answers": [], "adds": 20})
    page.clock.run_for(10)
    assert [len(batch) for batch in sent(page)] == [20]


def test_at_most_two_hundred_are_kept_the_newest(page: Page) -> None:
    page.evaluate(REPORT, {"answers": [], "adds": 450})
    page.clock.run_for(60_000)
    batches = sent(page)
    assert max(len(batch) for batch in batches) <= 50
    assert [name for batch in batches for name in batch] == [f"e{n}" for n in range(250, 450)]


@pytest.mark.parametrize("status", [0, 408, 429, 500, 503])
def test_what_failed_is_tried_five_times_and_then_given_up(page: Page, status: int) -> None:
    page.evaluate(REPORT, {"answers": [{"status": status}] * 20, "adds": 1})
    for _ in range(40):
        page.clock.run_for(10_000)
    assert sent(page) == [["e0"]] * 5
    page.evaluate("window.reporter.add({ name: 'new' })")
    page.clock.run_for(3_000)
    assert sent(page)[5:] == [["new"]]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_what_is_refused_is_not_tried_again(page: Page, status: int) -> None:
    page.evaluate(REPORT, {"answers": [{"status": status}], "adds": 1})
    for _ in range(6):
        page.clock.run_for(10_000)
    assert sent(page) == [["e0"]]


def test_a_server_that_asks_for_a_pause_gets_it(page: Page) -> None:
    answers = [{"status": 429, "headers": {"Retry-After": "30"}}]
    page.evaluate(REPORT, {"answers": answers, "adds": 1})
    page.clock.run_for(2_500)
    page.evaluate("for (let n = 0; n < 30; n += 1) window.reporter.add({ name: 'more' })")
    page.clock.run_for(25_000)
    assert len(sent(page)) == 1
    page.clock.run_for(10_000)
    assert len(sent(page)) == 2
    assert len(sent(page)[1]) == 31


# -- the bridge on its own, with an element that does as it is told --------------------------------

LISTEN = """async ({ steps, tellsFirstText }) => {
    const { Bridge } = await import('/static/chatkit_endpoint/bridge.js');
    const element = document.createElement('div');
    const reports = [];
    const bridge = new Bridge(element, (report) => reports.push(report));
    bridge.tellsFirstText = tellsFirstText;
    for (const [name, detail] of steps) {
        if (name === 'stream') bridge.noteStream(detail);
        else if (name === 'wait') await new Promise((resolve) => setTimeout(resolve, detail));
        else element.dispatchEvent(new CustomEvent(`chatkit.${name}`, { detail }));
    }
    return reports;
}"""


def listen(page: Page, *steps: tuple[str, Any], tells_first_text: bool = False) -> Any:
    return page.evaluate(
        LISTEN, {"steps": [list(step) for step in steps], "tellsFirstText": tells_first_text}
    )


SUBMIT = ("log", {"name": "composer.submit", "data": {"text": "A secret"}})
RETRY = ("log", {"name": "message.action", "data": {"action": "retry", "itemId": "msg_1"}})
START, END = ("response.start", None), ("response.end", None)


@pytest.fixture
def blank(visitor: Visitor) -> Page:
    visitor.page.goto(f"{visitor.site.url}/accounts/login/")
    return visitor.page


def test_an_element_that_tells_no_first_text_is_timed_by_its_start(blank: Page) -> None:
    reports = listen(blank, SUBMIT, ("wait", 30), ("stream", "req-1"), START, ("wait", 30), END)
    [timing] = [report for report in reports if report["name"] == "client.timing"]
    data = timing["data"]
    assert data["request_id"] == "req-1"
    assert 25 <= data["ttft_ms"] < data["total_ms"]
    assert data["ttft_ms"] + data["duration_ms"] == pytest.approx(data["total_ms"], abs=1)


def test_an_answer_without_text_has_no_time_to_it(blank: Page) -> None:
    reports = listen(blank, SUBMIT, ("stream", "req-1"), START, END, tells_first_text=True)
    assert reports[-1]["data"].keys() == {"request_id", "total_ms"}


def test_an_answer_asked_for_again_is_timed_too(blank: Page) -> None:
    reports = listen(blank, RETRY, ("stream", "req-2"), START, END)
    assert reports[0]["data"] == {"action": "retry", "item_id": "msg_1"}
    assert reports[-1]["name"] == "client.timing"
    assert reports[-1]["data"]["request_id"] == "req-2"


@pytest.mark.parametrize(
    "steps",
    [
        [START, END],
        [SUBMIT, ("error", {"error": {"name": "Error"}}), START, END],
        [SUBMIT, ("stream", "req-1"), ("stream", "req-2"), START, END],
    ],
    ids=["nobody asked", "it failed before it began", "it was stopped before it began"],
)
def test_an_answer_that_nobody_waited_for_is_not_timed(
    blank: Page, steps: list[tuple[str, Any]]
) -> None:
    reports = listen(blank, *steps)
    assert "client.timing" not in names(reports)
    assert "chatkit.response.end" in names(reports)


def test_only_ids_names_codes_and_numbers_pass(blank: Page) -> None:
    reports = listen(
        blank,
        SUBMIT,
        ("thread.change", {"threadId": "thr_1"}),
        ("log", {"name": "message.action", "data": {"action": "A secret!", "itemId": {"a": 1}}}),
        ("log", {"name": "something.else", "data": {"text": "A secret"}}),
        ("log", {"name": "A secret thing"}),
        ("error", {"error": {"name": "Error", "message": "A secret", "code": "x", "status": 500}}),
        ("error", None),
        ("effect", {"name": "shake", "data": {"text": "A secret"}}),
        ("tool.change", {"toolId": None}),
        ("thread.change", {"threadId": "A secret/"}),
    )
    assert "secret" not in json.dumps(reports)
    assert [(report["name"], report.get("data")) for report in reports] == [
        ("composer.submit", None),
        ("chatkit.thread.change", None),
        ("message.action", None),
        ("chatkit.log", {"log": "something.else"}),
        ("chatkit.log", None),
        ("chatkit.error", {"code": "x", "name": "Error", "status": 500}),
        ("chatkit.error", None),
        ("chatkit.effect", {"name": "shake"}),
        ("chatkit.tool.change", None),
        ("chatkit.thread.change", None),
    ]
    assert [report.get("thread_id") for report in reports] == [None, *["thr_1"] * 8, None]
