"""What an operator says of a thread stands, whatever a turn writes back."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from chatkit.types import ClosedStatus, LockedStatus

from chatkit_endpoint.models import Thread
from chatkit_endpoint.store import DjangoStore
from chatkit_endpoint.thread_status import Status, set_status

from .conversations import context_of
from .samples import a_thread
from .visitors import user_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def context(transactional_db: None) -> Any:
    return context_of(await user_of("vera"))


async def operator_says(status: Status, reason: str = "") -> None:
    row = await Thread.objects.aget()
    assert await sync_to_async(set_status)(row.pk, status, reason)


async def test_a_turn_that_writes_its_older_copy_back_does_not_open_a_shut_thread(
    context: Any,
) -> None:
    store = DjangoStore()
    await store.save_thread(a_thread(), context)
    copy = await store.load_thread("thr_1", context)
    await operator_says(Status.LOCKED, "Please wait.")
    copy.title, copy.metadata = "The beginning", {"step": 2}
    await store.save_thread(copy, context)
    kept = await store.load_thread("thr_1", context)
    assert kept.status == LockedStatus(reason="Please wait.")
    assert (kept.title, kept.metadata) == ("The beginning", {"step": 2})
    await operator_says(Status.CLOSED)
    await store.save_thread(copy, context)
    assert (await store.load_thread("thr_1", context)).status == ClosedStatus()
    await operator_says(Status.ACTIVE)
    await store.save_thread(copy, context)
    assert (await store.load_thread("thr_1", context)).status.type == "active"


async def test_a_server_of_the_sites_own_shuts_what_no_operator_spoke_of(context: Any) -> None:
    store = DjangoStore()
    await store.save_thread(a_thread(), context)
    await store.save_thread(a_thread(status=ClosedStatus(reason="Done.")), context)
    assert (await store.load_thread("thr_1", context)).status == ClosedStatus(reason="Done.")
    # An operator who opens it says nothing of what comes later.
    await operator_says(Status.ACTIVE)
    await store.save_thread(a_thread(status=LockedStatus()), context)
    assert (await store.load_thread("thr_1", context)).status == LockedStatus()


async def test_the_column_follows_the_json_whoever_writes_it(context: Any) -> None:
    async def column() -> str:
        return (await Thread.objects.aget()).status

    store = DjangoStore()
    await store.save_thread(a_thread(status=LockedStatus()), context)
    assert await column() == Status.LOCKED
    await store.save_thread(a_thread(), context)
    assert await column() == Status.ACTIVE
    await operator_says(Status.CLOSED, "Done.")
    assert await column() == Status.CLOSED
    # A turn's older copy changes neither.
    await store.save_thread(a_thread(), context)
    assert await column() == Status.CLOSED
    assert (await store.load_thread("thr_1", context)).status == ClosedStatus(reason="Done.")
    await operator_says(Status.ACTIVE)
    assert await column() == Status.ACTIVE
