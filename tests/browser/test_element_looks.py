"""How the element looks: by its options, by the browser's wishes, from either side, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.visitor import Visitor
from tests.servers import Server

pytestmark = pytest.mark.browser


def left_edge(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box is not None
    return box["x"]


def style(locator: Locator, name: str) -> str:
    found: str = locator.evaluate("(node, name) => getComputedStyle(node)[name]", name)
    return found


def luminance(color: str) -> float:
    """Of a computed ``rgb(…)`` or ``color(srgb …)``, from 0 (black) to 1."""
    numbers = [
        float(part) for part in color.split("(")[1].rstrip(")").replace(",", " ").split()[-3:]
    ]
    scale = 255 if color.startswith("rgb") else 1
    linear = [
        (value / scale / 12.92)
        if value / scale <= 0.04045
        else ((value / scale + 0.055) / 1.055) ** 2.4
        for value in numbers
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture(params=["light", "dark"])
def shaded(request: pytest.FixtureRequest, browser: Browser, site: Server) -> Iterator[Visitor]:
    with browser.new_context(locale="en", color_scheme=request.param) as context:
        visitor = Visitor(context, site).sign_in()
        yield visitor
        assert visitor.complaints == []


def test_it_follows_the_browsers_color_scheme_with_enough_contrast(
    shaded: Visitor, request: pytest.FixtureRequest
) -> None:
    shaded.ask_and_wait("What time is it in Tokyo?")
    surface = luminance(style(shaded.page.locator(".chat"), "backgroundColor"))
    assert (surface < 0.1) == (request.node.callspec.params["shaded"] == "dark")
    for locator in (
        shaded.answers.last,
        shaded.page.locator("summary").first,
        shaded.button("Copy"),
    ):
        ink = luminance(style(locator, "color"))
        assert (max(ink, surface) + 0.05) / (min(ink, surface) + 0.05) >= 4.5


def test_a_theme_by_name_wins_over_the_browser(alice: Visitor) -> None:
    alice.set_options("options.theme = 'dark'")
    assert luminance(style(alice.page.locator(".chat"), "backgroundColor")) < 0.1


def test_a_theme_in_detail_sets_color_shape_and_type(alice: Visitor) -> None:
    alice.set_options(
        theme={
            "colorScheme": "dark",
            "radius": "sharp",
            "density": "compact",
            "color": {"accent": {"primary": "rgb(255, 200, 0)", "level": 1}},
            "typography": {"baseSize": 18, "fontFamily": "monospace"},
        }
    )
    chat = alice.page.locator(".chat")
    assert style(chat, "fontFamily") == "monospace"
    assert style(chat, "fontSize") == "18px"
    assert style(alice.page.locator(".start > .icon"), "color") == "rgb(255, 200, 0)"
    assert style(alice.page.locator(".composer"), "borderRadius") == "0px"
    alice.set_options(theme=None)
    assert style(chat, "fontSize") == "16px"


def test_the_header_the_start_screen_and_the_small_print_are_the_pages(alice: Visitor) -> None:
    alice.set_options(
        """options.header = { title: { text: 'Help desk' },
            leftAction: { icon: 'home', onClick: () => { window.home = true; } } };""",
        startScreen={
            "greeting": "Ask away",
            "prompts": [{"label": "Hours?", "prompt": "When do you open?", "icon": "clock"}],
        },
        disclaimer={"text": "It can err.", "highContrast": True},
        composer={"placeholder": "Your question"},
        frameTitle="Support",
    )
    page = alice.page
    expect(page.get_by_role("region", name="Support")).to_be_visible()
    expect(page.get_by_role("heading", name="Help desk")).to_be_visible()
    expect(page.get_by_role("heading", name="Ask away")).to_be_visible()
    expect(page.get_by_text("It can err.")).to_be_visible()
    expect(page.get_by_placeholder("Your question")).to_be_visible()
    alice.button("home").click()
    assert page.evaluate("window.home") is True
    alice.button("Hours?").click()
    expect(alice.questions).to_have_text("When do you open?")
    alice.set_options(header={"enabled": False})
    expect(alice.button("New conversation")).to_be_hidden()
    expect(alice.questions).to_have_text("When do you open?")


def test_new_options_keep_what_was_being_written(alice: Visitor) -> None:
    alice.composer.fill("Half a thou")
    alice.set_options(disclaimer={"text": "It can err."})
    expect(alice.composer).to_have_value("Half a thou")


def test_the_page_can_fill_the_composer(alice: Visitor) -> None:
    alice.element.evaluate("(element) => element.setComposerValue({ text: 'Hello', reply: 'Hi' })")
    expect(alice.composer).to_have_value("Hello")
    alice.element.evaluate("(element) => element.focusComposer()")
    expect(alice.composer).to_be_focused()
    alice.composer.press("Enter")
    expect(alice.page.locator(".user .quote")).to_have_text("Hi")
    expect(alice.answers).to_contain_text("Hi”")


def test_from_right_to_left_send_stands_on_the_left(browser: Browser, site: Server) -> None:
    with browser.new_context(locale="ar") as context:
        visitor = Visitor(context, site)
        visitor.page.goto(site.url)
        visitor.page.locator("[name=username]").fill("alice")
        visitor.page.locator("[name=password]").fill("correct horse battery")
        visitor.page.locator("[type=submit]").click()
        expect(visitor.element).to_have_attribute("dir", "rtl")
        send, field = visitor.page.locator(".send[type=submit]"), visitor.page.locator("textarea")
        field.fill("مرحبا")
        assert left_edge(send) < left_edge(field)
        field.press("Enter")
        expect(visitor.answers).to_contain_text("مرحبا")
        # Their own words on their side, which is the left one here.
        bubble, answer = visitor.page.locator(".bubble"), visitor.answers.last
        assert left_edge(bubble) <= left_edge(answer)
        assert visitor.complaints == []


def test_an_address_in_an_answer_is_a_link_and_code_is_code(alice: Visitor) -> None:
    answer = alice.ask_and_wait("See https://example.org/a?b=c and `x = 1` and **this**")
    assert "`" not in answer
    link = alice.answers.get_by_role("link")
    expect(link).to_have_attribute("href", "https://example.org/a?b=c")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(alice.answers.locator("code")).to_have_text("x = 1")
    expect(alice.answers.locator("strong")).to_have_text("this")


@pytest.mark.parametrize(
    "text", ["[x](javascript:alert(1))", "[x](data:text/html,hi)", "![x](https://e.org/x.png)"]
)
def test_nothing_dangerous_is_linked_and_nothing_is_loaded(alice: Visitor, text: str) -> None:
    alice.ask_and_wait(text)
    for address in alice.answers.get_by_role("link").all():
        assert (address.get_attribute("href") or "").startswith("https://")
    assert alice.answers.locator("img").count() == 0


def test_what_a_reader_selected_stays_selected_while_the_answer_grows(alice: Visitor) -> None:
    alice.ask("/long")
    expect(alice.answers).to_contain_text("word 30 ")
    selected = alice.answers.evaluate(
        """(node) => {
            const range = document.createRange();
            range.setStart(node.firstChild, 0);
            range.setEnd(node.firstChild, 6);
            window.kept = range;
            return range.toString();
        }"""
    )
    expect(alice.answers).to_contain_text("word 60 ")
    assert alice.page.evaluate("window.kept.toString()") == selected == "word 1"
    alice.button("Stop").click()
