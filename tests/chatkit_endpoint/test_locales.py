"""The visitor's language."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from django.utils import translation
from pytest_django import Settings

from chatkit_endpoint.locales import locale_of


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("pt", "pt-br"),
        ("pt-PT, de;q=0.5", "pt-br"),
        ("fr, de;q=0.8, en;q=0.7", "de"),
        ("xx", "en"),
        ("", "en"),
        ("%%%, ;;;", "en"),
        ("de" * 500, "en"),
    ],
)
def test_the_header_is_matched_against_the_languages_of_the_site(
    rf: RequestFactory, settings: Settings, header: str, expected: str
) -> None:
    settings.LANGUAGES = [("en", "English"), ("de", "German"), ("pt-br", "Portuguese")]
    assert locale_of(rf.get("/", headers={"Accept-Language": header})) == expected


def test_without_a_header_it_is_the_language_of_the_page(rf: RequestFactory) -> None:
    with translation.override("de"):
        assert locale_of(rf.get("/")) == "de"
