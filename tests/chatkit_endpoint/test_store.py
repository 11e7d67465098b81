"""ChatKit's store: ids, threads and attachments; ``test_store_items`` has the items."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from asgiref.sync import async_to_sync
from chatkit.store import NotFoundError, Store, StoreItemType
from chatkit.types import (
    ActiveStatus,
    Attachment,
    AttachmentUploadDescriptor,
    ImageAttachment,
    LockedStatus,
    Page,
    Thread,
    ThreadItem,
    ThreadMetadata,
)
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pydantic import AnyUrl
from pytest_django import Settings

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.errors import Fault, Refused
from chatkit_endpoint.models import Attachment as AttachmentRow
from chatkit_endpoint.models import Thread as ThreadRow
from chatkit_endpoint.models import ThreadItem as ItemRow
from chatkit_endpoint.store import DjangoStore, _save_item, _save_thread
from observability import turns
from observability.models import Hold, Turn
from observability.recorder import Identity, TurnRecorder
from tests.chatkit_endpoint.conversations import context_of, found, plant
from tests.chatkit_endpoint.samples import (
    AWARE,
    NAIVE,
    a_message,
    a_thread,
    an_attachment,
    rows,
    text_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store() -> DjangoStore:
    return DjangoStore()


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def context(alice: User) -> RequestContext:
    return context_of(alice)


class TestIds:
    def test_every_kind_of_id_has_the_sdk_s_prefix_and_a_whole_uuid(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        prefixes = {
            "thread": "thr",
            "message": "msg",
            "tool_call": "tc",
            "workflow": "wf",
            "task": "tsk",
            "attachment": "atc",
            "sdk_hidden_context": "shcx",
        }
        assert set(prefixes) == set(get_args(StoreItemType))
        for kind in get_args(StoreItemType):
            item_id = store.generate_item_id(kind, a_thread(), context)
            assert re.fullmatch(rf"{prefixes[kind]}_[0-9a-f]{{32}}", item_id)
        assert re.fullmatch(r"thr_[0-9a-f]{32}", store.generate_thread_id(context))

    def test_no_two_are_the_same(self, store: DjangoStore, context: RequestContext) -> None:
        assert len({store.generate_thread_id(context) for _ in range(1000)}) == 1000


class TestThreads:
    async def test_a_thread_comes_back_as_it_went_in(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        thread = a_thread(
            title="Zürich 你好",
            status=LockedStatus(reason="late"),
            metadata={"deep": {"er": [1, None]}},
            allowed_image_domains=["a.test"],
        )
        await store.save_thread(thread, context)
        assert await store.load_thread(thread.id, context) == thread

    @pytest.mark.parametrize("created_at", [NAIVE, AWARE])
    async def test_its_time_is_kept_as_it_came_and_is_utc_in_the_column(
        self, store: DjangoStore, context: RequestContext, created_at: datetime
    ) -> None:
        await store.save_thread(a_thread(created_at=created_at), context)
        assert (await store.load_thread("thr_1", context)).created_at == created_at
        [row] = await rows(ThreadRow)
        assert row.created_at == created_at.replace(tzinfo=UTC)

    async def test_saving_again_updates_it(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        await store.save_thread(a_thread(title="First", status=LockedStatus()), context)
        await store.save_thread(a_thread(title="Second"), context)
        assert await store.load_thread("thr_1", context) == a_thread(title="Second")
        [row] = await rows(ThreadRow)
        assert row.title == "Second"
        assert isinstance((await store.load_thread("thr_1", context)).status, ActiveStatus)

    async def test_of_a_thread_with_items_only_the_metadata_is_stored(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        """The SDK hands one over when a title is set in the turn that creates the thread."""
        items: Page[ThreadItem] = Page(data=[a_message(text="not yours to store")])
        await store.save_thread(Thread(**a_thread(title="T").model_dump(), items=items), context)
        [row] = await rows(ThreadRow)
        assert "not yours to store" not in row.payload
        assert type(await store.load_thread("thr_1", context)) is ThreadMetadata
        assert await rows(ItemRow) == []

    async def test_the_row_belongs_to_who_made_it(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        await store.save_thread(a_thread(), context)
        [row] = await rows(ThreadRow)
        assert context.user is not None
        assert (row.user_id, row.owner_key) == (context.user.pk, context.owner_key)

    async def test_a_missing_thread_is_told_in_the_words_of_the_sdk_s_tests(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        with pytest.raises(NotFoundError, match=r"^Thread thr_missing not found$"):
            await store.load_thread("thr_missing", context)

    async def test_deleting_takes_its_items_and_attachments_along(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        for thread_id in ("thr_1", "thr_2"):
            await store.save_thread(a_thread(thread_id), context)
            await store.add_thread_item(thread_id, a_message(thread_id=thread_id), context)
        await store.save_attachment(an_attachment(thread_id="thr_1"), context)
        await store.delete_thread("thr_1", context)
        assert [row.key for row in await rows(ThreadRow)] == ["thr_2"]
        assert [row.thread_id for row in await rows(ItemRow)] == [
            row.pk for row in await rows(ThreadRow)
        ]
        assert await rows(AttachmentRow) == []

    @pytest.mark.parametrize("running", [False, True])
    def test_deleting_takes_the_files_and_the_text_of_the_turns_along(
        self,
        store: DjangoStore,
        alice: User,
        settings: Settings,
        tmp_path: Path,
        running: bool,
    ) -> None:
        """A visitor who deletes means it, also while an answer is being written."""
        settings.MEDIA_ROOT = tmp_path
        conversation = plant(alice, running=running)
        async_to_sync(store.delete_thread)(conversation.thread.key, context_of(alice))
        assert found(conversation.marks.values(), tmp_path) == set()
        assert Turn.objects.count() == 1

    async def test_one_on_hold_stays_and_its_owner_is_told(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        await store.save_thread(a_thread(), context)
        await Hold.objects.acreate(
            tenant=context.tenant, owner_key=context.owner_key, thread_id="thr_1", reason="A claim."
        )
        with pytest.raises(Refused) as refused:
            await store.delete_thread("thr_1", context)
        assert refused.value.fault is Fault.HELD
        assert (await store.load_thread("thr_1", context)).id == "thr_1"

    async def test_a_thread_that_is_deleted_while_it_is_answered_does_not_come_back(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        """The SDK saves a thread that got a title, in the middle of the turn."""
        await store.save_thread(a_thread(), context)
        context.turn = TurnRecorder(thread_id="thr_1", identity=Identity())
        await store.save_thread(a_thread(title="Title"), context)
        await store.delete_thread("thr_1", context)
        with pytest.raises(NotFoundError):
            await store.save_thread(a_thread(title="Back again"), context)
        assert await rows(ThreadRow) == []

    async def test_threads_come_in_the_order_in_which_they_were_made(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        for number in range(5):
            await store.save_thread(a_thread(f"thr_{number}"), context)
        await store.save_thread(a_thread("thr_0", title="written in last"), context)
        first = await store.load_threads(3, None, "desc", context)
        assert [thread.id for thread in first.data] == ["thr_4", "thr_3", "thr_2"]
        assert (first.has_more, first.after) == (True, "thr_2")
        second = await store.load_threads(3, first.after, "desc", context)
        assert [thread.id for thread in second.data] == ["thr_1", "thr_0"]
        assert (second.has_more, second.after) == (False, None)
        upwards = await store.load_threads(3, "thr_1", "asc", context)
        assert [thread.id for thread in upwards.data] == ["thr_2", "thr_3", "thr_4"]

    async def test_an_unknown_cursor_is_an_error_and_not_the_end(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        await store.save_thread(a_thread(), context)
        with pytest.raises(NotFoundError):
            await store.load_threads(3, "thr_missing", "desc", context)


class TestAttachments:
    @pytest.mark.parametrize(
        "attachment",
        [
            an_attachment(name="Zürich 你好.txt", metadata={"a": 1}),
            ImageAttachment(
                id="atc_1",
                name="a.png",
                mime_type="image/png",
                preview_url=AnyUrl("https://a.test/a.png"),
                upload_descriptor=AttachmentUploadDescriptor(
                    url=AnyUrl("https://a.test/up"), method="PUT", headers={"a": "b"}
                ),
            ),
        ],
        ids=lambda attachment: attachment.type,
    )
    async def test_every_type_comes_back_as_it_went_in(
        self, store: DjangoStore, context: RequestContext, attachment: Attachment
    ) -> None:
        await store.save_attachment(attachment, context)
        assert await store.load_attachment("atc_1", context) == attachment

    async def test_saving_again_with_its_thread_puts_it_there(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        await store.save_thread(a_thread(), context)
        await store.save_attachment(an_attachment(), context)
        [row] = await rows(AttachmentRow)
        assert row.thread_id is None
        sent = an_attachment(thread_id="thr_1", name="b.txt")
        await store.save_attachment(sent, context)
        assert await store.load_attachment("atc_1", context) == sent
        [row] = await rows(AttachmentRow)
        assert (row.thread_id, row.name) == ((await rows(ThreadRow))[0].pk, "b.txt")

    async def test_a_thread_that_is_missing_is_an_error(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        with pytest.raises(NotFoundError, match=r"^Thread thr_missing not found$"):
            await store.save_attachment(an_attachment(thread_id="thr_missing"), context)
        assert await rows(AttachmentRow) == []

    async def test_deleting_one_leaves_the_others(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        for attachment_id in ("atc_1", "atc_2"):
            await store.save_attachment(an_attachment(attachment_id), context)
        await store.delete_attachment("atc_1", context)
        assert [row.key for row in await rows(AttachmentRow)] == ["atc_2"]
        with pytest.raises(NotFoundError):
            await store.load_attachment("atc_1", context)

    def test_deleting_takes_the_file_along(
        self, store: DjangoStore, alice: User, settings: Settings, tmp_path: Path
    ) -> None:
        settings.MEDIA_ROOT = tmp_path
        conversation = plant(alice)
        async_to_sync(store.delete_attachment)(conversation.attachment.key, context_of(alice))
        assert not conversation.file.exists()


class TestHostileText:
    async def test_a_nul_character_is_stored_and_comes_back(
        self, store: DjangoStore, context: RequestContext
    ) -> None:
        """PostgreSQL refuses it in text."""
        await store.save_thread(a_thread(title="a\x00b"), context)
        await store.add_thread_item("thr_1", a_message(text="a\x00b"), context)
        await store.save_attachment(an_attachment(name="a\x00b"), context)
        assert (await store.load_thread("thr_1", context)).title == "a\x00b"
        assert text_of(await store.load_item("thr_1", "msg_1", context)) == "a\x00b"
        assert (await store.load_attachment("atc_1", context)).name == "a\x00b"

    @pytest.mark.parametrize("bad_id", ["thr_\x00", "", "x" * 10_000, "' OR 1=1 --", "thr\n_1"])
    async def test_no_id_from_a_client_is_more_than_not_found(
        self, store: DjangoStore, context: RequestContext, bad_id: str
    ) -> None:
        await store.save_thread(a_thread(), context)
        await store.add_thread_item("thr_1", a_message(), context)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.load_thread(bad_id, context),
            lambda: store.delete_thread(bad_id, context),
            lambda: store.load_threads(9, bad_id, "asc", context),
            lambda: store.load_thread_items("thr_1", bad_id, 9, "asc", context),
            lambda: store.load_item("thr_1", bad_id, context),
            lambda: store.load_item(bad_id, "msg_1", context),
            lambda: store.save_item(bad_id, a_message(), context),
            lambda: store.load_attachment(bad_id, context),
        ]
        for call in calls:
            with pytest.raises(NotFoundError):
                await call()
        assert (await store.load_thread_items(bad_id, None, 9, "asc", context)).data == []
        await store.delete_thread_item("thr_1", bad_id, context)
        await store.delete_attachment(bad_id, context)
        assert len(await rows(ItemRow)) == 1


def test_these_are_all_methods_of_a_store() -> None:
    """A new one in the SDK needs tests here, and in test_context_isolation."""
    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert len(methods) == 14
    assert methods <= set(vars(DjangoStore))


@pytest.mark.parametrize("only_new", [True, False])
def test_an_item_for_a_thread_that_is_gone_is_no_error_to_the_database(
    context: RequestContext, *, only_new: bool
) -> None:
    """PostgreSQL would write the statement to its log, and what was said with it."""
    with transaction.atomic():
        with pytest.raises(NotFoundError):
            _save_item("thr_gone", a_message(), context, only_new=only_new)
        assert not connection.needs_rollback


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's log is its own.")
class TestDisk:
    """PostgreSQL's disk, which a commit waits for unless its transaction says otherwise."""

    @staticmethod
    def _waits(context: RequestContext) -> list[bool]:
        """Whether a thread's and an item's being stored does."""
        waits = []
        works = (
            partial(_save_thread, a_thread(title=f"{context.has_turn_ahead}"), context),
            partial(_save_item, "thr_1", a_message(), context),
        )
        for work in works:
            with CaptureQueriesContext(connection) as captured:
                work()
            waits.append(not any("synchronous_commit" in each["sql"] for each in captured))
        return waits

    def test_what_no_turn_follows_waits_for_it(self, context: RequestContext) -> None:
        assert self._waits(context) == [True, True]

    def test_what_is_stored_before_a_turn_s_end_does_not(self, context: RequestContext) -> None:
        context.is_streamed = True
        assert self._waits(context) == [False, False]
        context.turn = TurnRecorder(thread_id="thr_1", identity=Identity())
        assert self._waits(context) == [False, False]

    def test_what_is_stored_after_it_does(self, context: RequestContext) -> None:
        context.is_streamed = True
        context.turn = TurnRecorder(thread_id="thr_other", identity=Identity())
        context.turn.finish()
        assert self._waits(context) == [True, True]

    def test_a_turn_s_beginning_and_end_do(self) -> None:
        recorder = TurnRecorder(thread_id="thr_1", identity=Identity())
        with CaptureQueriesContext(connection) as captured:
            turns.open_turn(recorder)
            recorder.finish()
            turns.settle_turn(recorder)
        assert captured
        assert not any("synchronous_commit" in each["sql"] for each in captured)
