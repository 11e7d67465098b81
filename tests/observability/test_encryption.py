"""Encryption at rest: what is stored, who can read it, and what it costs."""

from __future__ import annotations

import io
import json
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from asgiref.sync import sync_to_async
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chatkit_endpoint.models import Attachment, Thread, ThreadItem
from chatkit_endpoint.owners import Owner
from chatkit_endpoint.personal_data import Export
from chatkit_endpoint.retention import purge
from observability import encryption, outbox, search
from observability.checks import check_encryption
from observability.conf import conf
from observability.courier import Courier
from observability.encryption import MARK, UndecryptableError, beginning
from observability.models import Delivery, Message, Turn, TurnSpans
from observability.retention import delete_turns, purge_text
from observability.turns import sweep
from tests.chatkit_client import ChatClient
from tests.chatkit_endpoint.conversations import (
    plant,
)
from tests.chatkit_endpoint.visitors import Visitor, user_of
from tests.factories import make_operator, make_thread, make_turn, make_user
from tests.servers import django_server
from tests.standins.webhook import webhook_standin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]

TURNS = "/admin/observability/turn/"
THREADS = "/admin/chatkit_endpoint/thread/"
API = "/observability/api/turns/"


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def key(settings: Settings) -> str:
    """Encryption is on, with this key."""
    key = new_key()
    settings.OBSERVABILITY_ENCRYPTION_KEYS = [key]
    return key


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_operator())
    return client


def new_key() -> str:
    return Fernet.generate_key().decode()


def stored(table: type[models.Model], column: str) -> str:
    """The only value of a column, as the database has it."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{column}" FROM {table._meta.db_table}')  # noqa: S608
        ((value,),) = cursor.fetchall()
    return str(value)


def said_in_database(*words: str) -> set[str]:
    """Which of these any table holds, SQLite's index of words included."""
    with connection.cursor() as cursor:
        everything = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            everything += [str(value) for row in cursor.fetchall() for value in row]
    return {word for word in words if any(word in value for value in everything)}


class TestValues:
    def test_without_keys_a_text_is_stored_as_it_is(self) -> None:
        make_turn("What time is it?")
        assert stored(Turn, "prompt") == "What time is it?"

    def test_with_a_key_only_the_key_opens_it(self, key: str) -> None:
        turn = make_turn("What time is it?")
        value = stored(Turn, "prompt")
        assert value.startswith(MARK)
        assert Fernet(key).decrypt(value.removeprefix(MARK)) == b"What time is it?"
        assert Turn.objects.get(pk=turn.pk).prompt == "What time is it?"

    def test_the_same_text_is_never_stored_alike(self, key: str) -> None:
        make_turn("Yes.")
        make_turn("Yes.")
        assert (
            Turn.objects.values(
                raw=models.ExpressionWrapper(models.F("prompt"), models.TextField())
            )
            .distinct()
            .count()
            == 2
        )

    def test_nothing_stays_nothing(self, key: str) -> None:
        make_turn("", "")
        assert stored(Turn, "prompt") == ""

    def test_any_text_comes_back(self, key: str) -> None:
        text = "日本語 \U0001f600 \u202e \t\n'\"%s" + "x" * 200_000
        make_turn(text)
        assert Turn.objects.get().prompt == text

    @pytest.mark.parametrize("is_on", [True, False])
    @pytest.mark.parametrize(
        "spans", [[], [{"name": "Grüße", "n": 1.5, "deep": {"a": [None, True, "\ud83d"]}}]]
    )
    def test_spans_come_back(self, settings: Settings, is_on: bool, spans: Any) -> None:
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()] if is_on else []
        TurnSpans.objects.create(turn=make_turn(), spans=spans)
        assert stored(TurnSpans, "spans").startswith(MARK) is is_on
        assert TurnSpans.objects.get().spans == spans
        assert TurnSpans.objects.values_list("spans", flat=True).get() == spans

    def test_every_way_of_writing_encrypts(self, key: str) -> None:
        first, second = Turn.objects.bulk_create(
            Turn(prompt=f"canary {number}", status="completed", started_at=timezone.now())
            for number in range(2)
        )
        Turn.objects.filter(pk=first.pk).update(response="canary response", error_message="")
        second.response = "canary of bulk_update"
        Turn.objects.bulk_update([second], ["response"])
        first.error_message = "canary of save"
        first.save(update_fields=["error_message"])
        Turn.objects.update_or_create(pk=second.pk, defaults={"error_message": "canary, updated"})
        assert said_in_database("canary") == set()
        read = Turn.objects.order_by("pk").values_list("prompt", "response", "error_message")
        assert list(read) == [
            ("canary 0", "canary response", "canary of save"),
            ("canary 1", "canary of bulk_update", "canary, updated"),
        ]

    def test_the_columns_are_the_same_with_and_without(self, settings: Settings) -> None:
        fields = [Turn._meta.get_field("prompt"), TurnSpans._meta.get_field("spans")]
        off = [field.db_type(connection) for field in fields]
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        assert off == [field.db_type(connection) for field in fields] == ["text", "text"]

    def test_what_was_in_the_clear_before_is_read_as_it_is(self, settings: Settings) -> None:
        make_turn("Old.")
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        make_turn("New.")
        assert set(Turn.objects.values_list("prompt", flat=True)) == {"Old.", "New."}


class TestWhoTypesThePrefix:
    """What a visitor wrote is text, whatever it looks like."""

    @pytest.fixture(params=["", "gAAAAABhello", "=", "TOKEN"])
    def rest(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.mark.parametrize("signs", ["", "=", "=="])
    @pytest.mark.parametrize("is_on", [True, False])
    def test_it_comes_back_and_is_not_opened(
        self, settings: Settings, key: str, rest: str, signs: str, is_on: bool
    ) -> None:
        theirs = encryption.sealed("somebody else's").removeprefix(MARK)
        text = f"{signs}{MARK}{rest.replace('TOKEN', theirs)}"
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [key] if is_on else []
        make_turn(text)
        for keys in ([key], [new_key(), key], *([] if is_on else [[]])):
            settings.OBSERVABILITY_ENCRYPTION_KEYS = keys
            assert Turn.objects.get().prompt == text
            assert Turn.objects.values_list(beginning("prompt", 200), flat=True).get() == text

    def test_it_is_found_by_its_words(self) -> None:
        make_turn(f"{MARK}gAAAA radiator")
        assert Turn.objects.search("radiator", with_content=True).exists()


class TestKeys:
    def test_the_first_encrypts_and_all_decrypt(self, settings: Settings, key: str) -> None:
        make_turn("Old.")
        newer = new_key()
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [newer, key]
        make_turn("New.")
        assert set(Turn.objects.values_list("prompt", flat=True)) == {"Old.", "New."}
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [newer]
        assert Turn.objects.filter(pk=Turn.objects.latest("pk").pk).get().prompt == "New."

    @pytest.mark.parametrize("keys", [[], ["another"]])
    def test_what_no_key_opens_is_an_error_that_names_the_setting(
        self, settings: Settings, key: str, keys: list[str]
    ) -> None:
        make_turn("A canary.")
        token = stored(Turn, "prompt")
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key() for _ in keys]
        with pytest.raises(UndecryptableError) as raised:
            list(Turn.objects.all())
        assert "OBSERVABILITY_ENCRYPTION_KEYS" in str(raised.value)
        assert token not in str(raised.value)

    def test_a_value_that_was_tampered_with_is_an_error(self, key: str) -> None:
        make_turn("Pay 10.")
        token = stored(Turn, "prompt")
        forged = token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]
        Turn.objects.update(prompt=models.Value(forged, models.TextField()))
        with pytest.raises(UndecryptableError):
            Turn.objects.get()

    def test_what_is_no_key_is_never_written_with_nor_told(self, settings: Settings) -> None:
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key(), "a-secret-that-is-too-short"]
        with pytest.raises(ImproperlyConfigured) as raised:
            make_turn("A canary.")
        assert "a-secret" not in str(raised.value)
        assert not Turn.objects.exists()

    def test_no_key_is_in_what_the_settings_look_like(self, key: str) -> None:
        assert conf().observability_encryption_keys == [key]
        assert key not in repr(conf())


class TestChecks:
    def ids(self) -> list[str]:
        return [str(message.id) for message in check_encryption()]

    def test_off_nothing_is_said(self) -> None:
        assert self.ids() == []

    def test_on_it_says_what_it_costs(self, key: str) -> None:
        (message,) = check_encryption()
        assert message.id == "observability.I002"
        assert "search" in message.msg

    @pytest.mark.parametrize("wrong", ["short", "", "ü" * 44, "a" * 44])
    def test_what_is_no_key_is_an_error_that_does_not_tell_it(
        self, settings: Settings, wrong: str
    ) -> None:
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key(), wrong]
        (message,) = check_encryption()
        assert message.id == "observability.E007"
        assert not wrong or wrong not in f"{message} {message.hint}"

    def test_a_missing_package_is_an_error(self, settings: Settings, key: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("observability.checks.find_spec", lambda name: None)
            assert self.ids() == ["observability.E006"]

    def test_a_missing_package_writes_nothing_in_the_clear(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        with pytest.raises(ImproperlyConfigured, match="cryptography"):
            make_turn("A canary.")


class TestChat:
    """Conversations through the endpoint, the store and the recorder."""

    @pytest.mark.parametrize("is_on", [True, False])
    async def test_with_a_key_no_word_of_it_is_in_the_database_and_all_of_it_is_read(
        self, settings: Settings, is_on: bool
    ) -> None:
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()] if is_on else []
        prompt, later = f"prompt{uuid.uuid4().hex}", f"later{uuid.uuid4().hex}"
        vera = await Visitor().sign_in(await user_of("vera"))
        first = await vera.say(f"Repeat {prompt}")
        thread_id = first.thread.id
        second = await vera.say(f"What time is it? {later}", thread_id)
        # Of the items and the title, of turns and messages, and of what a tool was handed.
        words = {prompt, later, first.text[:20], second.text[:20], "time_zone", "output_text"}
        found = await sync_to_async(said_in_database)(*words)
        assert found == (set() if is_on else words)
        items = await vera.ask("items.list", thread_id=thread_id, order="asc", limit=20)
        assert prompt in items.body.decode()
        assert later in items.body.decode()
        assert prompt in (await vera.ask("threads.list", limit=10, order="desc")).body.decode()
        turn = await Turn.objects.order_by("pk").afirst()
        assert turn is not None
        assert (turn.prompt, turn.response) == (f"Repeat {prompt}", first.text)
        texts = {line.text async for line in turn.messages.all()}
        assert texts >= {turn.prompt, turn.response}

    async def test_a_new_answer_supersedes_that_of_a_process_that_died(self, key: str) -> None:
        vera = await Visitor().sign_in(await user_of("vera"))
        thread_id = (await vera.say("Hello")).thread.id
        await vera.say("And then?", thread_id)
        prompt = await ThreadItem.objects.filter(type="user_message").order_by("pk").afirst()
        assert prompt is not None
        died = await Turn.objects.order_by("pk").afirst()
        # As the sweeper leaves them: nobody was there to keep what was said.
        await Message.objects.all().adelete()
        await Turn.objects.aupdate(status=Turn.Status.INTERRUPTED)
        await vera.ask("threads.retry_after_item", thread_id=thread_id, item_id=prompt.key)
        newest = await Turn.objects.alatest("pk")
        assert [turn async for turn in Turn.objects.filter(superseded_by=newest)] == [died]

    def test_a_real_server_leaves_no_word_on_its_disk(self, tmp_path: Path) -> None:
        prompt = f"prompt{uuid.uuid4().hex}"
        with django_server(tmp_path, OBSERVABILITY_ENCRYPTION_KEYS=new_key()) as server:
            with ChatClient(server.url) as alice:
                alice.sign_in("alice")
                answer = alice.chat(f"Repeat {prompt}")
                server.wait_for_row("select id from observability_turn where status = 'completed'")
                alice.chat("And now?", answer.thread_id)
            contents = server.database.contents()
            log = server.log
        assert answer.thread_id in contents
        assert MARK in contents
        assert prompt not in contents
        assert prompt not in log
        for file in tmp_path.glob("*.sqlite3*"):
            assert prompt.encode() not in file.read_bytes()


class TestPages:
    def test_pages_exports_and_the_api_show_what_was_said(self, key: str, operator: Client) -> None:
        alice = make_user("alice")
        planted = plant(alice)
        marks = planted.marks
        assert said_in_database(*marks.values()) <= {marks["file-name"]}
        Turn.objects.update(status=Turn.Status.FAILED)
        turn_page = operator.get(f"{TURNS}{planted.turn.pk}/change/").content.decode()
        shown = [f"message-{kind}" for kind in Message.Kind.values] + ["turn-error"]
        assert not [place for place in shown if marks[place] not in turn_page]
        assert marks["turn-prompt"] in operator.get(TURNS).content.decode()
        thread_page = operator.get(f"{THREADS}{planted.thread.pk}/change/").content.decode()
        assert marks["title"] in thread_page
        assert marks["answer-item"] in thread_page
        assert marks["title"] in operator.get(THREADS).content.decode()
        archive = ZipFile(io.BytesIO(b"".join(Export([Owner("", f"user:{alice.pk}")], "alice"))))
        text = "".join(archive.read(name).decode() for name in archive.namelist())
        # The archive names files anew.
        assert [place for place in marks if marks[place] not in text] == ["file-name"]

    def test_the_api_tells_prompts_and_spans(self, key: str, operator: Client) -> None:
        turn = make_turn("What time is it?")
        TurnSpans.objects.create(
            turn=turn,
            spans=[
                {
                    "id": "request",
                    "parent_id": "",
                    "kind": "request",
                    "name": "threads.create",
                    "start_ms": 0.0,
                    "duration_ms": 1.0,
                }
            ],
        )
        told = operator.get(f"{API}{turn.pk}/").json()
        assert told["prompt"] == "What time is it?"
        assert told["spans"][0]["name"] == "threads.create"

    def test_a_visitor_sees_the_titles_of_their_own(self, key: str, client: Client) -> None:
        alice = make_user("alice")
        make_thread("My radiator", user=alice)
        client.force_login(alice)
        assert "My radiator" in client.get("/chatkit/my-data/").content.decode()


class TestWhatNoKeyOpens:
    @pytest.fixture(autouse=True)
    def _lost(self, settings: Settings, key: str) -> Iterator[None]:
        """Something from before the key was lost, and something from after."""
        alice = make_user("alice")
        self.old = plant(alice)
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        self.new = plant(alice, written_at=timezone.now())
        yield

    @pytest.mark.parametrize(("path", "place"), [(TURNS, "turn-prompt"), (THREADS, "title")])
    def test_lists_say_so_and_go_on(self, operator: Client, path: str, place: str) -> None:
        page = operator.get(path).content.decode()
        assert "no key opens this" in page
        assert self.new.marks[place] in page

    @pytest.mark.parametrize("path", [TURNS, THREADS])
    def test_its_page_says_so_and_leads_back_to_the_list(self, operator: Client, path: str) -> None:
        row = self.old.turn if path == TURNS else self.old.thread
        answer = operator.get(f"{path}{row.pk}/change/", follow=True)
        assert answer.redirect_chain == [(path, 302)]
        assert "none of the site’s keys opens it" in answer.content.decode()

    def test_its_owner_sees_that_there_is_a_thread(self, client: Client) -> None:
        alice = User.objects.get(username="alice")
        client.force_login(alice)
        assert "no key opens this" in client.get("/chatkit/my-data/").content.decode()

    def test_it_can_be_purged(self) -> None:
        assert purge(Thread.objects.filter(pk=self.old.thread.pk)).threads == 1
        assert not Thread.objects.filter(pk=self.old.thread.pk).exists()
        assert Turn.objects.get(pk=self.old.turn.pk).is_text_purged
        assert Turn.objects.get(pk=self.new.turn.pk).prompt == self.new.marks["turn-prompt"]

    def test_turns_go_by_age(self) -> None:
        gone: list[Any] = []
        delete_turns(timezone.now() - timedelta(days=50), gone.append)
        assert gone == [{"traces": 1}]

    def test_the_text_of_turns_can_be_purged(self) -> None:
        assert purge_text(Turn.objects.filter(pk=self.old.turn.pk)) == 1

    def test_a_turn_of_a_process_that_died_is_finished(self) -> None:
        Turn.objects.filter(pk=self.old.turn.pk).update(
            status=Turn.Status.RUNNING, lease_expires_at=timezone.now() - timedelta(hours=1)
        )
        assert sweep() == 1
        statuses = Turn.objects.filter(pk=self.old.turn.pk).values_list("status", flat=True)
        assert list(statuses) == [Turn.Status.INTERRUPTED]

    def test_its_delivery_waits_for_the_key_and_holds_up_no_other(
        self, settings: Settings, key: str
    ) -> None:
        Delivery.objects.all().delete()
        with webhook_standin() as hook:
            settings.OBSERVABILITY_WEBHOOK_URL = hook.hook_url
            settings.OBSERVABILITY_WEBHOOK_SECRET = hook.secret
            settings.OBSERVABILITY_WEBHOOK_TEXT = "full"
            for turn in Turn.objects.without_texts().order_by("pk"):
                outbox.enqueue_turn(turn)
            courier = Courier()
            try:
                while courier.deliver():
                    pass
                assert len(hook.events) == 1
                settings.OBSERVABILITY_ENCRYPTION_KEYS = [
                    *settings.OBSERVABILITY_ENCRYPTION_KEYS,
                    key,
                ]
                Delivery.objects.outstanding().update(
                    available_at=timezone.now() - timedelta(seconds=1)
                )
                while courier.deliver():
                    pass
            finally:
                courier.close()
            told = json.dumps(hook.events)
        assert self.new.marks["turn-prompt"] in told
        assert self.old.marks["turn-prompt"] in told

    async def test_the_chat_says_that_something_went_wrong(self) -> None:
        alice = await User.objects.aget(username="alice")
        visitor = await Visitor().sign_in(alice)
        answer = await visitor.ask("threads.get_by_id", thread_id=self.old.thread.key)
        assert (answer.status, answer.code) == (500, "server_error")


class TestSearch:
    def test_words_are_not_found_and_people_and_ids_are(self, key: str) -> None:
        turn = make_turn("My landlord is cold.", "Turn the radiator on.", user=make_user("alice"))
        for words in ("landlord", "radiator", '"landlord is"', "fernet", "gAAAAA"):
            assert not Turn.objects.search(words, with_content=True).exists()
        for known in ("alice", turn.trace_id):
            assert Turn.objects.search(known, with_content=True).get().pk == turn.pk

    def test_a_text_leaves_the_index_when_it_is_encrypted_and_comes_back(
        self, settings: Settings
    ) -> None:
        def is_found() -> bool:
            return Turn.objects.search("landlord", with_content=True).exists()

        turn = make_turn("My landlord is cold.")
        assert is_found()
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        turn.save()
        assert not is_found()
        turn.save()
        settings.OBSERVABILITY_ENCRYPTION_KEYS = []
        turn.save()
        assert is_found()
        turn.delete()
        assert not is_found()

    def test_an_index_made_anew_holds_nothing_of_what_is_encrypted(
        self, settings: Settings
    ) -> None:
        make_turn("My landlord is cold.")
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        secret = make_turn("My radiator is cold.")
        with connection.schema_editor() as editor:
            search.uninstall(editor)
            search.install(editor)
        assert Turn.objects.search("landlord", with_content=True).exists()
        assert not Turn.objects.search("radiator", with_content=True).exists()
        # What the index does not hold is not taken out of it either.
        secret.delete()
        assert Turn.objects.search("landlord", with_content=True).exists()
        assert not Turn.objects.search("cold gAAAAA", with_content=True).exists()

    def test_the_admin_says_that_words_are_not_found(
        self, settings: Settings, operator: Client
    ) -> None:
        for path in (TURNS, THREADS):
            assert "encrypted" not in operator.get(path).content.decode()
        settings.OBSERVABILITY_ENCRYPTION_KEYS = [new_key()]
        for path in (TURNS, THREADS):
            assert "no search finds" in operator.get(path).content.decode()

    def test_a_title_is_not_found_by_letters_of_its_ciphertext(
        self, key: str, operator: Client
    ) -> None:
        thread = make_thread("My radiator")
        for words, count in (("radiator", 0), ("fernet", 0), ("gAAAA", 0), (thread.key, 1)):
            page = operator.get(THREADS, {"q": words})
            assert page.context["cl"].result_count == count


def test_attachments_are_encrypted_but_for_their_files(key: str) -> None:
    planted = plant(make_user("alice"))
    assert stored(Attachment, "name").startswith(MARK)
    assert stored(Attachment, "payload").startswith(MARK)
    assert planted.file.read_text() == planted.marks["bytes"]
