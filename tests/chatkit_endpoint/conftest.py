"""A ChatKit server of each test's own, and on demand two people and a folder for their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from chatkit_endpoint import assistant
from chatkit_endpoint.demo_model import DemoModel
from chatkit_endpoint.server import get_server

from .visitors import use_server


@pytest.fixture(autouse=True)
def _own_server() -> Iterator[None]:
    """The server is made once per process, from settings that tests change."""
    get_server.cache_clear()
    yield
    get_server.cache_clear()


@pytest.fixture
def concierge(settings: Any) -> None:
    """The sample site's own server answers."""
    use_server(settings, "tests.sites.concierge.Concierge")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model does not take its time."""
    monkeypatch.setattr(assistant, "DemoModel", lambda: DemoModel(seconds_per_word=0))


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    """Where files are kept."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")
