"""What ``{% chatkit %}`` puts on a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import Client, RequestFactory
from django.utils import translation
from pytest_django.fixtures import Settings

SCRIPT_URL = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js"


class Page(HTMLParser):
    """The elements of a rendered page, and the data that the tag left for its script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "script" and "src" not in attributes and data.strip():
            assert attributes["type"] == "application/json"
            self.inline.append(data)

    @property
    def element(self) -> dict[str, str | None]:
        [attributes] = [found for tag, found in self.elements if tag == "openai-chatkit"]
        return attributes

    @property
    def data(self) -> dict[str, Any]:
        [text] = self.inline
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def scripts(self) -> list[dict[str, str | None]]:
        return [found for tag, found in self.elements if tag == "script" and "src" in found]


def render(arguments: str = "", request: HttpRequest | None = None, **context: Any) -> Page:
    template = Template(f"{{% load chatkit %}}{{% chatkit {arguments} %}}")
    request = request or RequestFactory().get("/help/?page=2")
    return Page(template.render(RequestContext(request, context)))


@pytest.fixture
def openai_client(settings: Settings) -> None:
    settings.CHATKIT_DOMAIN_KEY = "domain_pk_1"


def test_without_a_domain_key_the_page_loads_the_built_in_element() -> None:
    page = render()
    assert [script["src"] for script in page.scripts] == [
        "/static/chatkit_endpoint/element.js",
        "/static/chatkit_endpoint/chat.js",
    ]
    assert all(script["type"] == "module" for script in page.scripts)
    assert page.data["options"] == {"api": {"url": "/chatkit", "domainKey": ""}, "locale": "en"}
    assert page.data["builtin"]["labels"]["send"] == "Send"
    assert page.data["builtin"]["loginUrl"] == "/accounts/login/?next=%2Fhelp%2F%3Fpage%3D2"


@pytest.mark.usefixtures("openai_client")
def test_with_a_domain_key_the_page_loads_openais_element() -> None:
    page = render()
    assert [script["src"] for script in page.scripts] == [
        SCRIPT_URL,
        "/static/chatkit_endpoint/chat.js",
    ]
    assert "async" in page.scripts[0]
    assert page.data["options"]["api"] == {"url": "/chatkit", "domainKey": "domain_pk_1"}
    assert "builtin" not in page.data


@pytest.mark.usefixtures("openai_client")
def test_the_script_can_come_from_elsewhere(settings: Settings) -> None:
    settings.CHATKIT_SCRIPT_URL = "https://chat.example/chatkit.js"
    assert render().scripts[0]["src"] == "https://chat.example/chatkit.js"


def test_arguments_become_chatkit_options() -> None:
    page = render(
        'theme="dark" greeting="Ask away" placeholder="Your question" thread="thr_1" '
        'prompts=prompts locale="pt-br"',
        prompts=["Hi", {"label": "Long", "prompt": "A longer one", "icon": "bolt"}],
    )
    assert page.data["options"] == {
        "api": {"url": "/chatkit", "domainKey": ""},
        "composer": {"placeholder": "Your question"},
        "initialThread": "thr_1",
        "locale": "pt-BR",
        "startScreen": {
            "greeting": "Ask away",
            "prompts": [
                {"label": "Hi", "prompt": "Hi"},
                {"label": "Long", "prompt": "A longer one", "icon": "bolt"},
            ],
        },
        "theme": "dark",
    }


def test_prompts_may_be_the_lines_of_one_string() -> None:
    page = render("prompts=prompts", prompts="One\n  Two\n\n")
    prompts = page.data["options"]["startScreen"]["prompts"]
    assert [prompt["label"] for prompt in prompts] == ["One", "Two"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("hieght", "height"), ("prompt", "prompts"), ("placeholder_", "placeholder")],
)
def test_an_unknown_argument_fails_with_the_nearest_right_one(wrong: str, right: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=rf"'{wrong}'.*'{right}'"):
        render(f'{wrong}="1"')


def test_an_argument_like_no_other_fails_with_all_there_are() -> None:
    with pytest.raises(TemplateSyntaxError, match=r"'xyzzy'.*autofocus, greeting, height"):
        render("xyzzy=1")


@pytest.mark.parametrize(
    ("argument", "height"),
    [
        ("", "36rem"),
        ("height=480", "480px"),
        ('height="70dvh"', "70dvh"),
        ('height="100%"', "100%"),
    ],
)
def test_the_height_reaches_the_script_and_no_style_attribute(argument: str, height: str) -> None:
    page = render(argument)
    assert page.data["height"] == height
    assert not any("style" in attributes for _, attributes in page.elements)


@pytest.mark.parametrize("argument", ['height="tall"', 'height="1px;color:red"', 'theme="pink"'])
def test_a_value_that_cannot_be_meant_fails(argument: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        render(argument)


def test_text_of_the_page_cannot_end_the_script_it_is_in() -> None:
    page = render("greeting=greeting", greeting="</script><script>alert(1)</script>")
    assert page.data["options"]["startScreen"]["greeting"] == "</script><script>alert(1)</script>"
    assert len(page.scripts) == 2


def test_the_element_speaks_the_language_of_the_page() -> None:
    with translation.override("de"):
        element = render().element
    assert (element["lang"], element["dir"]) == ("de", "ltr")


def test_a_locale_of_its_own_turns_the_element_and_leaves_the_page() -> None:
    page = render('locale="ar"')
    assert (page.element["lang"], page.element["dir"]) == ("ar", "rtl")
    assert page.data["options"]["locale"] == "ar"
    assert translation.get_language() == "en"


@pytest.mark.parametrize(
    ("django", "browser"),
    [("en", "en"), ("pt-br", "pt-BR"), ("zh-hant", "zh-Hant"), ("zh-hant-hk", "zh-Hant-HK")],
)
def test_languages_are_spelled_as_browsers_do(django: str, browser: str) -> None:
    assert render(f'locale="{django}"').data["options"]["locale"] == browser


def test_the_csrf_token_stays_in_its_cookie() -> None:
    page = render()
    assert page.data["csrf"] == {"cookie": "csrftoken", "header": "X-CSRFTOKEN"}


@pytest.mark.django_db
@pytest.mark.parametrize("setting", ["CSRF_COOKIE_HTTPONLY", "CSRF_USE_SESSIONS"])
def test_a_token_that_the_browser_cannot_read_is_handed_over(
    settings: Settings, setting: str
) -> None:
    setattr(settings, setting, True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create(username="alice"))
    csrf = Page(client.get("/").content.decode()).data["csrf"]
    assert client.post("/accounts/logout/").status_code == 403
    accepted = client.post("/accounts/logout/", headers={csrf["header"]: csrf["token"]})
    assert accepted.status_code == 302


def test_several_chats_on_a_page_have_an_id_and_data_each() -> None:
    first, second = render().element, render('id="second"').element
    assert (first["id"], first["data-chatkit"]) == ("chatkit", "chatkit-data")
    assert (second["id"], second["data-chatkit"]) == ("second", "second-data")


def test_a_page_rendered_without_its_request_says_so() -> None:
    with pytest.raises(ImproperlyConfigured, match="request"):
        Template("{% load chatkit %}{% chatkit %}").render(Context({}))


@pytest.mark.django_db
def test_the_chat_page_has_the_chat_no_inline_code_and_a_way_out(client: Client) -> None:
    client.force_login(User.objects.create(username="alice"))
    response = client.get("/")
    html = response.content.decode()
    page = Page(html)  # Fails on a script that is neither data nor a file.
    assert page.data["height"] == "100%"
    assert "csrftoken" in response.cookies
    assert ("form", "/accounts/logout/") in [(tag, a.get("action")) for tag, a in page.elements]
    assert "/admin/" not in html
    assert not re.search(r"<style|\son\w+=|\sstyle=", html)


@pytest.mark.django_db
def test_staff_find_the_admin_from_the_chat_page(admin_client: Client) -> None:
    assert 'href="/admin/"' in admin_client.get("/").content.decode()
