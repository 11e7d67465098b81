"""A fresh ChatKit server for each test that asks for one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
