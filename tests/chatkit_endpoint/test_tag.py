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


def render(
    arguments: str = "", request: HttpRequest | None = None, tag: str = "chatkit", **context: Any
) -> Page:
    template = Template(f"{{% load chatkit %}}{{% {tag} {arguments} %}}")
    request = request or RequestFactory().get("/help/?page=2")
    return Page(template.render(RequestContext(request, context)))


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


@pytest.mark.parametrize(
    ("client", "domain_key", "chosen"),
    [
        ("", "", "builtin"),
        ("", "domain_pk_1", "auto"),
        ("auto", "", "builtin"),
        ("auto", "domain_pk_1", "auto"),
        ("builtin", "domain_pk_1", "builtin"),
        ("openai", "domain_pk_1", "openai"),
    ],
)
def test_the_settings_choose_the_element(
    settings: Settings, client: str, domain_key: str, chosen: str
) -> None:
    settings.CHATKIT_CLIENT, settings.CHATKIT_DOMAIN_KEY = client, domain_key
    page = render()
    assert page.data["client"] == chosen
    assert page.data.get("scriptUrl") == (None if chosen == "builtin" else SCRIPT_URL)
    assert ("builtin" in page.data) == (chosen != "openai")
    assert len(page.scripts) == (2 if chosen == "builtin" else 1)
    assert page.data["options"]["api"] == {"url": "/chatkit", "domainKey": domain_key}


def test_the_script_can_come_from_elsewhere(settings: Settings) -> None:
    settings.CHATKIT_DOMAIN_KEY = "domain_pk_1"
    settings.CHATKIT_SCRIPT_URL = "https://chat.example/chatkit.js"
    assert render().data["scriptUrl"] == "https://chat.example/chatkit.js"


def test_arguments_become_chatkit_options() -> None:
    page = render(
        'theme="dark" greeting="Ask away" placeholder="Your question" thread="thr_1" '
        'prompts=prompts locale="pt-br" feedback=True',
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
        "theme": {"colorScheme": "dark"},
        "threadItemActions": {"feedback": True},
    }


def test_a_setting_is_for_every_chat_and_an_argument_for_one(settings: Settings) -> None:
    settings.CHATKIT_OPTIONS = {
        "theme": {"radius": "soft", "color_scheme": "light"},
        "greeting": "Hello",
        "locale": "de",
    }
    assert render().data["options"] == {
        "api": {"url": "/chatkit", "domainKey": ""},
        "locale": "de",
        "startScreen": {"greeting": "Hello"},
        "theme": {"radius": "soft", "colorScheme": "light"},
    }
    options = render('theme="dark" greeting="Ahoy" locale="ar"').data["options"]
    assert options["theme"] == {"radius": "soft", "colorScheme": "dark"}
    assert options["startScreen"] == {"greeting": "Ahoy"}
    assert options["locale"] == "ar"


def test_what_is_missing_in_the_template_is_not_an_option() -> None:
    assert render("thread=nothing greeting=nothing").data["options"].keys() == {"api", "locale"}


def test_attachments_are_those_that_the_settings_allow(settings: Settings) -> None:
    settings.CHATKIT_ATTACHMENT_TYPES = ["image/png", "text/plain"]
    settings.CHATKIT_ATTACHMENT_MAX_BYTES = 5_000
    settings.CHATKIT_ATTACHMENT_MAX_COUNT = 3
    options = render("attachments=True").data["options"]
    found = options["composer"]["attachments"]
    assert {**found, "accept": list(found["accept"])} == {
        "enabled": True,
        "accept": ["image/png", "text/plain"],
        "maxCount": 3,
        "maxSize": 5_000,
    }
    assert ".txt" in found["accept"]["text/plain"]
    assert options["api"]["uploadStrategy"] == {
        "type": "direct",
        "uploadUrl": "/chatkit/attachments/",
    }


def test_attachments_may_be_fewer_than_the_settings_allow() -> None:
    images = {"max_count": 1, "accept": {"image/png": [".png"]}}
    options = render("attachments=images", images=images).data["options"]
    found = options["composer"]["attachments"]
    assert (found["enabled"], found["maxCount"]) == (True, 1)
    assert found["accept"] == {"image/png": [".png"]}


@pytest.mark.parametrize(
    ("setting", "none"), [("CHATKIT_ATTACHMENT_TYPES", ()), ("CHATKIT_ATTACHMENT_MAX_COUNT", 0)]
)
def test_there_are_no_attachments_where_the_settings_allow_none(
    settings: Settings, setting: str, none: Any
) -> None:
    setattr(settings, setting, none)
    options = render("attachments=True").data["options"]
    assert options["composer"]["attachments"]["enabled"] is False


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
    with pytest.raises(TemplateSyntaxError, match=r"'xyzzy'.*autofocus.* greeting, header"):
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


@pytest.mark.parametrize(
    "argument",
    ['height="tall"', 'height="1px;color:red"', 'theme="pink"', 'retry="yes"', "title=7"],
)
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
    ("django", "browser", "openai"),
    [
        ("en", "en", "en"),
        ("en-gb", "en-GB", "en"),
        ("pt-br", "pt-BR", "pt-BR"),
        ("zh-hans", "zh-Hans", "zh"),
        ("zh-hant-hk", "zh-Hant-HK", "zh-Hant"),
        ("nn", "nn", None),
    ],
)
def test_languages_are_spelled_as_browsers_do_and_as_far_as_openais_element_has_them(
    django: str, browser: str, openai: str | None
) -> None:
    data = render(f'locale="{django}"').data
    assert data["locale"] == browser
    assert data["options"].get("locale") == openai


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


def test_a_popup_takes_what_a_chat_takes_and_is_a_button_at_first() -> None:
    page = render('id="help" theme="dark" height=500 greeting="Hi"', tag="chatkit_popup")
    assert page.data["options"]["startScreen"] == {"greeting": "Hi"}
    assert page.data["height"] == "500px"
    assert [script["src"] for script in page.scripts] == ["/static/chatkit_endpoint/chat.js"]
    [toggle] = [found for tag, found in page.elements if found.get("aria-expanded") == "false"]
    [panel] = [found for tag, found in page.elements if found.get("role") == "dialog"]
    assert (toggle["aria-controls"], toggle["aria-label"]) == ("help-panel", "Chat")
    assert panel["id"] == "help-panel"
    assert "hidden" in panel
    assert page.elements[0][1]["data-theme"] == "dark"
    assert not any("style" in attributes for _, attributes in page.elements)


def test_a_popup_speaks_its_own_language() -> None:
    page = render('locale="de"', tag="chatkit_popup")
    [panel] = [found for tag, found in page.elements if found.get("role") == "dialog"]
    assert panel["aria-label"] == "Chat"
    assert "Schließen" in [found.get("aria-label") for _, found in page.elements]


def test_a_mistake_in_a_popup_names_the_popup() -> None:
    with pytest.raises(TemplateSyntaxError, match=r"chatkit_popup.*'greeting'"):
        render('greting="Hi"', tag="chatkit_popup")


@pytest.mark.django_db
def test_the_chat_page_has_the_chat_no_inline_code_and_a_way_out(client: Client) -> None:
    client.force_login(User.objects.create(username="alice"))
    response = client.get("/")
    html = response.content.decode()
    page = Page(html)  # Fails on a script that is neither data nor a file.
    assert page.data["height"] == "100%"
    options = page.data["options"]
    assert options["threadItemActions"] == {"feedback": True, "retry": True}
    assert options["composer"]["attachments"]["enabled"] is True
    assert options.get("history") != {"enabled": False}
    assert "csrftoken" in response.cookies
    assert ("form", "/accounts/logout/") in [(tag, a.get("action")) for tag, a in page.elements]
    assert "/admin/" not in html
    assert not re.search(r"<style|\son\w+=|\sstyle=", html)


@pytest.mark.django_db
def test_staff_find_the_admin_from_the_chat_page(admin_client: Client) -> None:
    assert 'href="/admin/"' in admin_client.get("/").content.decode()
