"""Turns to tell of, and processes to tell them from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction

from observability import outbox
from observability.models import Delivery, Message, Turn

PROJECT = Path(__file__).resolve().parents[2]
PROCESS_SECONDS = 60
STARTED = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def make_turn(**fields: Any) -> Turn:
    """A completed turn, in the database."""
    values: dict[str, Any] = {
        "owner_key": "user:7",
        "session_id": "session-1",
        "thread_id": "thr_1",
        "status": Turn.Status.COMPLETED,
        "prompt": "What is the time?",
        "response": "Noon.",
        "started_at": STARTED,
        "ended_at": STARTED + timedelta(seconds=2),
    }
    return Turn.objects.create(**{**values, **fields})


def add_message(turn: Turn, kind: str, text: str, **fields: Any) -> Message:
    """The turn's next message."""
    position = Message.objects.filter(turn=turn).count()
    values: dict[str, Any] = {
        "position": position,
        "item_id": f"item_{position}",
        "created_at": turn.started_at + timedelta(milliseconds=position),
    }
    return Message.objects.create(turn=turn, kind=kind, text=text, **{**values, **fields})


def enqueue(turn: Turn | None = None) -> Delivery:
    """A pending delivery of this or a new turn."""
    turn = turn or make_turn()
    with transaction.atomic():
        outbox.enqueue_turn(turn)
    return Delivery.objects.get(event_id=turn.trace_id)


def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Wait until the condition holds. Fails the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"It did not come true within {timeout} s.")
        time.sleep(0.02)


def run_python(code: str, **environment: str) -> str:
    """Run the code in a process of its own, on this test's database; returns what it printed.

    Fails the test with what it wrote if it does not end well.
    """
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "chatsite.settings",
            "DATABASE_URL": database_url(),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def database_url() -> str:
    """The DATABASE_URL of the test database that is in use."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    login = quote(settings["USER"], safe="")
    if settings["PASSWORD"]:
        login += f":{quote(settings['PASSWORD'], safe='')}"
    return f"postgres://{login}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
