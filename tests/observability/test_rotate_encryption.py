"""The command that writes what was said anew: with the first key, or in the clear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import TextField, Value
from pytest_django import Settings

from observability import encryption
from observability.encryption import MARK
from observability.models import Message, Turn, TurnSpans
from tests.chatkit_endpoint.conversations import Conversation, found, plant, plant_many
from tests.factories import make_turn, make_user
from tests.observability.helpers import PROJECT, database_url, eventually, run_python

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]

VALUES = 13
"""How many a planted conversation has with its spans: Attachment, Thread and Turn have several."""


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def planted(media: Path) -> Conversation:
    """A conversation with its turn, in the clear."""
    planted = plant(make_user("alice"))
    planted.marks["span"] = "span-0123456789abcdef"
    TurnSpans.objects.create(turn=planted.turn, spans=[{"name": planted.marks["span"]}])
    return planted


def new_key() -> str:
    return Fernet.generate_key().decode()


def rotate(*arguments: str) -> str:
    """What the command says."""
    out = StringIO()
    call_command("rotate_encryption", *arguments, stdout=out)
    return out.getvalue()


def in_the_clear(planted: Conversation) -> set[str]:
    """The places of which any table holds the words, the index of the search included."""
    words = {place: mark.rpartition("-")[2] for place, mark in planted.marks.items()}
    left = found(words.values(), Path("nowhere"))
    return {place for place in words if words[place] in left}


def all_stored() -> dict[str, Any]:
    """Each value that may be encrypted, as the database has it."""
    stored = {}
    with connection.cursor() as cursor:
        for table, columns in (
            ("chatkit_endpoint_thread", "title, payload"),
            ("chatkit_endpoint_threaditem", "payload"),
            ("chatkit_endpoint_attachment", "name, payload"),
            ("observability_turn", "prompt, response, error_message"),
            ("observability_message", "text"),
            ("observability_turnspans", "spans"),
        ):
            cursor.execute(f"SELECT {columns} FROM {table} ORDER BY 1")  # noqa: S608
            stored[table] = cursor.fetchall()
    return stored


def values_of(stored: dict[str, Any]) -> list[str]:
    return [value for rows in stored.values() for row in rows for value in row]


def test_switched_on_it_encrypts_all_there_is(settings: Settings, planted: Conversation) -> None:
    assert in_the_clear(planted) == set(planted.marks) - {"bytes"}
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    assert rotate() == f"Encrypted: {VALUES} values.\n"
    assert in_the_clear(planted) == {"file-name"}
    assert all(value.startswith(MARK) for value in values_of(all_stored()))
    turn = Turn.objects.get()
    assert turn.prompt == planted.marks["turn-prompt"]
    assert turn.span_row.spans == [{"name": planted.marks["span"]}]


def test_the_search_forgets_what_is_encrypted(settings: Settings) -> None:
    make_turn("My landlord is cold.")
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    assert Turn.objects.search("landlord", with_content=True).exists()
    rotate()
    assert not Turn.objects.search("landlord", with_content=True).exists()
    rotate("--decrypt")
    assert Turn.objects.search("landlord", with_content=True).exists()


def test_after_it_the_old_key_may_go(settings: Settings, planted: Conversation) -> None:
    old, new = new_key(), new_key()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [old]
    rotate()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new, old]
    assert rotate() == f"Encrypted: {VALUES} values.\n"
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new]
    assert Turn.objects.get().response == planted.marks["turn-response"]


def test_run_again_it_changes_nothing(settings: Settings, planted: Conversation) -> None:
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    rotate()
    before = all_stored()
    assert rotate() == "Encrypted: 0 values.\n"
    assert all_stored() == before


def test_decrypted_all_is_as_it_was(settings: Settings, planted: Conversation) -> None:
    make_turn(f"{MARK}typed by a visitor", f"={MARK}and this")
    before = all_stored()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    rotate()
    # A turn of two texts and their messages.
    assert rotate("--decrypt") == f"Decrypted: {VALUES + 4} values.\n"
    assert all_stored() == before
    assert rotate("--decrypt") == "Decrypted: 0 values.\n"
    settings.OBSERVABILITY_ENCRYPTION_KEYS = []
    assert Turn.objects.latest("pk").prompt == f"{MARK}typed by a visitor"


def test_what_no_key_opens_stays_and_is_said(settings: Settings, planted: Conversation) -> None:
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [lost := new_key()]
    rotate()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new := new_key()]
    make_turn("New", "")
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [newer := new_key(), new]
    with pytest.raises(CommandError, match=f"No key opens {VALUES} more"):
        rotate()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [newer]
    assert Turn.objects.order_by("-pk")[0].prompt == "New"
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [newer, lost]
    assert rotate() == f"Encrypted: {VALUES} values.\n"


@pytest.mark.parametrize(
    ("keys", "said"), [([], "is not set"), (["a-secret-too-short"], "no Fernet key")]
)
def test_without_a_good_key_it_says_so_and_changes_nothing(
    settings: Settings, planted: Conversation, keys: list[str], said: str
) -> None:
    before = all_stored()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = keys
    for arguments in ((), ("--decrypt",)):
        with pytest.raises(CommandError, match=said) as raised:
            rotate(*arguments)
        assert "a-secret" not in str(raised.value)
    assert all_stored() == before


def at_the_third_value(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Have something happen between reading a value and writing it."""
    sealed, count = encryption.sealed, 0

    def slow(text: str) -> str:
        nonlocal count
        count += 1
        if count == 3:
            do()
        return sealed(text)

    monkeypatch.setattr(encryption, "sealed", slow)


def test_what_the_site_writes_meanwhile_stands(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [make_turn(f"prompt {number}", "") for number in range(4)]
    Message.objects.all().delete()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]

    def purge() -> None:
        Turn.objects.filter(pk=turns[2].pk).update(prompt="", response=Value("new", TextField()))

    at_the_third_value(monkeypatch, purge)
    assert rotate() == "Encrypted: 3 values.\n"
    prompts = Turn.objects.order_by("pk").values_list("prompt", "response")
    assert list(prompts) == [("prompt 0", ""), ("prompt 1", ""), ("", "new"), ("prompt 3", "")]


def test_ctrl_c_says_how_far_it_came_and_the_next_run_does_the_rest(
    settings: Settings, planted: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    out = StringIO()
    with monkeypatch.context() as patch:
        at_the_third_value(patch, interrupt)
        with pytest.raises(CommandError, match="Run it again") as raised:
            call_command("rotate_encryption", stdout=out)
    assert raised.value.returncode == 130
    assert out.getvalue() == "Encrypted so far: 2 values.\n"
    assert rotate() == f"Encrypted: {VALUES - 2} values.\n"


def test_more_than_one_batch_is_done(settings: Settings) -> None:
    plant_many(make_user("alice"), 250)
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
    # The payloads of threads and of items, and a prompt.
    assert rotate() == "Encrypted: 750 values.\n"


def test_a_real_ctrl_c_leaves_whole_values(settings: Settings) -> None:
    plant_many(make_user("alice"), 2000)
    key = new_key()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "rotate_encryption"],
        cwd=PROJECT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "OBSERVABILITY_ENCRYPTION_KEYS": key,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            eventually(lambda: any(value.startswith(MARK) for value in values_of(all_stored())))
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    done = sum(value.startswith(MARK) for value in values_of(all_stored()))
    # The value under way may just have been written.
    assert done - int(out.split()[3].replace(",", "")) in {0, 1}
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [key]
    assert rotate() == f"Encrypted: {6000 - done:,} values.\n"


def test_it_does_not_load_the_chat_s_sdk() -> None:
    """That takes two seconds, every time."""
    run_python(
        "import sys\n"
        "from django.core.management import execute_from_command_line as run\n"
        "run(['manage.py', 'rotate_encryption'])\n"
        "loaded = {'chatkit', 'agents', 'openai'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n",
        OBSERVABILITY_ENCRYPTION_KEYS=new_key(),
    )


def test_observability_does_not_know_whose_columns_they_are() -> None:
    command = PROJECT / "observability/management/commands/rotate_encryption.py"
    assert "chatkit_endpoint" not in command.read_text(encoding="utf-8")
