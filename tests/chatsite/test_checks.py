"""What ``manage.py check`` says."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

# Django asks the database whether it has JSON.
pytestmark = pytest.mark.django_db


def ids(databases: list[str] | None = None) -> set[str]:
    return {str(message.id) for message in run_checks(databases=databases)}


def test_each_default_is_said_aloud(settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.CHATKIT_DOMAIN_KEY = settings.CHATKIT_CLIENT = ""
    settings.ANOSYS_API_KEY = settings.ANOSYS_INGESTION_URL = ""
    assert ids() >= {
        "chatkit_endpoint.I001",
        "chatkit_endpoint.I002",
        "observability.I001",
    }


def test_a_site_that_is_set_up_hears_nothing(settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.CHATKIT_DOMAIN_KEY = settings.ANOSYS_API_KEY = "a-key"
    assert ids(["default"]) <= {"chatsite.I001"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CHATKIT_CLIENT", "react", "chatkit_endpoint.E001"),
        ("CHATKIT_CLIENT", "openai", "chatkit_endpoint.E002"),
        ("CHATKIT_HISTORY_ITEMS", 0, "chatkit_endpoint.E003"),
        ("CHATKIT_HISTORY_ITEMS", 101, "chatkit_endpoint.E003"),
        ("TIME_ZONE", "Asia/Tokyo", "chatkit_endpoint.W001"),
        ("ANOSYS_RESOLVER_URL", "http://console.anosys.ai/", "observability.E001"),
        ("ANOSYS_INGESTION_URL", "ftp://collector.example/", "observability.E001"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: Settings, name: str, value: object, expected: str
) -> None:
    settings.CHATKIT_DOMAIN_KEY = ""
    assert expected not in ids()
    setattr(settings, name, value)
    assert expected in ids()


def test_a_local_collector_may_do_without_tls(settings: Settings) -> None:
    settings.ANOSYS_INGESTION_URL = "http://127.0.0.1:9000/in"
    assert "observability.E001" not in ids()


def test_no_check_tells_a_credential(settings: Settings) -> None:
    settings.ANOSYS_INGESTION_URL = "http://collector.example/secret-path"
    assert "secret-path" not in " ".join(f"{said} {said.hint}" for said in run_checks())


def test_sqlite_without_immediate_transactions_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("This is about SQLite.")
    assert "observability.W001" not in ids(["default"])
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    assert "observability.W001" in ids(["default"])
