"""What ``manage.py check`` says of the chat's limits and of where its files lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

# Django asks the database whether it has JSON.
pytestmark = pytest.mark.django_db

FILES = "django.core.files.storage.FileSystemStorage"


def ids(*, deployed: bool = False) -> list[str]:
    found = run_checks(include_deployment_checks=deployed)
    return [str(each.id) for each in found if str(each.id).startswith("chatkit_endpoint.")]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHATKIT_RATE_LIMIT", "60", "E004"),
        ("CHATKIT_ADDRESS_RATE_LIMIT", "lots", "E004"),
        ("CHATKIT_MAX_STREAMS", 0, "E005"),
        ("CHATKIT_TRUSTED_PROXIES", -1, "E006"),
        ("CHATKIT_ATTACHMENT_STORAGE", "elsewhere", "E008"),
        ("DATA_UPLOAD_MAX_MEMORY_SIZE", 999_999, "W002"),
    ],
)
def test_a_wrong_limit_is_named(settings: Settings, name: str, value: Any, expected: str) -> None:
    expected = f"chatkit_endpoint.{expected}"
    assert expected not in ids()
    setattr(settings, name, value)
    assert ids().count(expected) == 1


def test_django_may_take_as_much_as_the_chat_or_anything(settings: Settings) -> None:
    for size in (1_000_000, None):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = size
        assert "chatkit_endpoint.W002" not in ids()


def test_a_deployed_site_without_limits_hears_of_it(settings: Settings) -> None:
    settings.CHATKIT_RATE_LIMIT, settings.CHATKIT_ADDRESS_RATE_LIMIT = "60/m", "300/m"
    assert "chatkit_endpoint.W003" not in ids(deployed=True)
    settings.CHATKIT_RATE_LIMIT = settings.CHATKIT_ADDRESS_RATE_LIMIT = ""
    assert ids(deployed=True).count("chatkit_endpoint.W003") == 2
    assert "chatkit_endpoint.W003" not in ids()


def test_files_that_lie_where_everybody_gets_them_are_pointed_out(
    settings: Settings, tmp_path: Path
) -> None:
    public, private = tmp_path / "public", tmp_path / "private"
    settings.MEDIA_ROOT = public
    # As this site has it: nothing serves them.
    assert "chatkit_endpoint.W004" not in ids()
    settings.MEDIA_URL = "/media/"
    assert "chatkit_endpoint.W004" in ids()

    def kept_in(folder: Path) -> None:
        chat = {"BACKEND": FILES, "OPTIONS": {"location": folder}}
        settings.STORAGES = {**settings.STORAGES, "chat": chat}

    settings.CHATKIT_ATTACHMENT_STORAGE = "chat"
    kept_in(public / "chat")
    assert "chatkit_endpoint.W004" in ids()
    kept_in(private)
    assert "chatkit_endpoint.W004" not in ids()


def test_of_a_storage_elsewhere_nothing_is_said(settings: Settings) -> None:
    settings.MEDIA_URL = "/media/"
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "default": memory}
    assert not {"chatkit_endpoint.W004", "chatkit_endpoint.E008"} & set(ids())
