"""The chat in the language that the browser asks for, from the login page to the answer."""

from __future__ import annotations

import pytest
from django.utils import translation
from django.utils.translation import gettext
from playwright.sync_api import Browser, expect

from tests.browser.visitor import Visitor
from tests.servers import PASSWORD, Server

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("locale", "direction", "question"),
    [
        ("ar-EG", "rtl", "كم الساعة الآن في طوكيو؟"),
        ("ja-JP", "ltr", "東京は今何時ですか"),
        ("pt-PT", "ltr", "Que horas são em Tóquio?"),
    ],
)
def test_the_chat_speaks_the_browsers_language_and_runs_in_its_direction(
    browser: Browser, site: Server, locale: str, direction: str, question: str
) -> None:
    spoken = {"ar-EG": "ar", "ja-JP": "ja", "pt-PT": "pt-br"}[locale]
    with translation.override(spoken):
        user_name, password, sign_in = gettext("User name"), gettext("Password"), gettext("Sign in")
        message, send = gettext("Message"), gettext("Send")
        greeting = gettext("What can I help with today?")
        answer = gettext("I looked at the clock. It says: %(time)s").partition("%")[0]
    with browser.new_context(locale=locale) as context:
        visitor = Visitor(context, site)
        page = visitor.page
        page.goto(site.url)
        page.get_by_label(user_name).fill("alice")
        page.get_by_label(password).fill(PASSWORD)
        page.get_by_role("button", name=sign_in).click()

        composer = page.get_by_role("textbox", name=message, exact=True)
        composer.wait_for()
        expect(page.locator("html")).to_have_attribute("lang", spoken)
        expect(page.locator("html")).to_have_attribute("dir", direction)
        expect(composer).to_have_css("direction", direction)
        expect(page.get_by_role("heading", name=greeting)).to_be_visible()
        composer.fill(question)
        visitor.button(send).click()
        expect(visitor.answers.last).to_contain_text(answer.rstrip("\u2068 "))
        expect(visitor.answers.last).to_contain_text("Asia/Tokyo")
        assert visitor.complaints == []
