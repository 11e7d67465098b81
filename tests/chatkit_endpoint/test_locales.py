"""The visitor's language."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from django.utils import translation
from pytest_django import Settings

from chatkit_endpoint.locales import language_instruction, locale_of, supported


def wanted(rf: RequestFactory, header: str) -> str:
    return locale_of(rf.get("/", headers={"Accept-Language": header}))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("de-Latn-CH-1996", "de"),
        ("pt", "pt-br"),
        ("pt-BR", "pt-br"),
        ("pt-PT, de;q=0.5", "pt-br"),
        ("ja-JP", "ja"),
        ("ar-EG, en;q=0.8", "ar"),
        ("it, de;q=0.8, en;q=0.7", "de"),
        ("en;q=0.2, fr;q=0.9, de;q=0.5", "fr"),
        ("zh-Hant-HK", "en"),
        ("zh-Hant-HK, zh;q=0.9, es-MX;q=0.8", "es"),
    ],
)
def test_the_header_is_matched_against_the_languages_of_this_site(
    rf: RequestFactory, header: str, expected: str
) -> None:
    assert wanted(rf, header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "*",
        "xx",
        "tlh-Klingon",
        "%%%, ;;;",
        "de;q=high",
        "de;q=0",
        "*, de;q=0.5",
        "../../etc/passwd",
        "de\x00",
        "de_AT",
        "ドイツ語",
        "de" * 500,
        "de-" * 5000,
        "x" * 100_000,
    ],
)
def test_what_names_no_language_of_the_site_leaves_that_of_the_page(
    rf: RequestFactory, header: str
) -> None:
    assert wanted(rf, header) == "en"
    with translation.override("ja"):
        assert wanted(rf, header) == "ja"


@pytest.mark.parametrize(
    ("languages", "header", "expected"),
    [
        (["en", "it"], "de, it;q=0.5", "it"),
        (["en", "zh-hans", "zh-hant"], "zh-Hant-HK", "zh-hant"),
        (["en", "zh-hans", "zh-hant"], "zh-TW", "zh-hant"),
        (["en", "zh-hans"], "zh-Hant-HK", "zh-hans"),
        (["en", "en-gb"], "en-GB", "en-gb"),
        (["de", "fr"], "en", "de"),
    ],
)
def test_a_sites_own_languages_decide(
    rf: RequestFactory, settings: Settings, languages: list[str], header: str, expected: str
) -> None:
    settings.LANGUAGES = [(code, code) for code in languages]
    settings.LANGUAGE_CODE = languages[0]
    assert wanted(rf, header) == expected


def test_without_a_header_it_is_the_language_of_the_page(rf: RequestFactory) -> None:
    with translation.override("de"):
        assert locale_of(rf.get("/")) == "de"


def test_a_pages_language_that_the_site_only_has_more_general_becomes_that(
    rf: RequestFactory,
) -> None:
    """Django's project template says ``LANGUAGE_CODE = "en-us"``, which its LANGUAGES lack."""
    with translation.override("en-us"):
        assert locale_of(rf.get("/")) == "en"


def test_the_nearest_supported_language_is_none_where_there_is_none() -> None:
    assert (supported("pt"), supported("fr-CA"), supported("zh-hant"), supported("")) == (
        "pt-br",
        "fr",
        None,
        None,
    )


def test_the_model_is_told_the_language_in_that_language() -> None:
    assert language_instruction("en") == (
        "The user’s language is English (en). Answer in it, unless the user writes in another one."
    )
    with translation.override("ja"):
        told = language_instruction("pt-br")
    assert told.startswith("O idioma do usuário é: Português do Brasil (pt-br). ")
    assert "日本語" in language_instruction("ja")


def test_for_a_language_without_a_catalog_it_is_told_in_english(settings: Settings) -> None:
    settings.LANGUAGES = [("en", "English"), ("it", "Italian")]
    assert language_instruction("it").startswith("The user’s language is Italian (it). ")
