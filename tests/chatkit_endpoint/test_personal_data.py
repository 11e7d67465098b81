"""All that is held on somebody is in the archive, and nothing of anybody else's."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from collections.abc import Callable
from typing import Any
from zipfile import ZipFile

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.owners import Owner, owners_of
from chatkit_endpoint.personal_data import BATCH, KINDS, PIECE_BYTES, Export
from observability.models import EndpointRequest, Feedback, TurnFact, TurnSpans
from tests.chatkit_endpoint.conversations import (
    Conversation,
    owner_of,
    plant,
    plant_attachment,
    plant_many,
)
from tests.factories import make_client_event, make_delivery

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("media")]


def archive_of(*owners: Owner) -> ZipFile:
    archive = ZipFile(io.BytesIO(b"".join(Export(owners, "alice"))))
    assert archive.testzip() is None
    return archive


def rows_of(archive: ZipFile, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(f"{kind}.jsonl").decode().splitlines()]


def all_text(archive: ZipFile) -> str:
    return "\n".join(
        [*archive.namelist(), *(archive.read(name).decode() for name in archive.namelist())]
    )


def plant_all(user: User, tenant: str = "") -> Conversation:
    """A conversation, and a row with a mark of every other kind that is kept."""
    planted = plant(user, tenant=tenant)
    turn, key = planted.turn, planted.thread.key
    owner = {"tenant": tenant, "owner_key": f"user:{user.pk}"}

    def mark(place: str) -> str:
        planted.marks[place] = f"{place}-{user.username}-{tenant}"
        return planted.marks[place]

    TurnSpans.objects.create(turn=turn, spans=[{"id": "1", "name": mark("span")}])
    TurnFact.objects.create(turn=turn, key="plan", value=mark("fact"))
    event = make_client_event(
        turn, **owner, session_id=mark("session"), data={"code": mark("event")}
    )
    make_delivery(turn, kind="action", client_event=event, event_id=event.event_id)
    Feedback.objects.create(
        turn=turn,
        thread_id=key,
        item_id=mark("rated"),
        kind="positive",
        first_kind="negative",
        **owner,
    )
    EndpointRequest.objects.create(
        started_at=timezone.now(),
        status=200,
        total_ms=5,
        operation="threads.create",
        request_id=mark("request"),
        **owner,
    )
    return planted


def test_every_text_file_and_record_is_in_it_and_nothing_of_others(alice: User, bob: User) -> None:
    hers = plant_all(alice)
    hers.marks.pop("file-name")  # The storage's own word for the place.
    others = [plant_all(bob), plant_all(alice, tenant="acme"), plant_all(bob, tenant="acme")]
    text = all_text(archive_of(owner_of(alice)))
    assert [mark for mark in hers.marks.values() if mark not in text] == []
    for other in others:
        assert [mark for mark in other.marks.values() if mark in text] == []
        assert other.thread.key not in text
        assert other.turn.trace_id not in text


def test_an_account_s_archive_has_all_tenants(alice: User, bob: User) -> None:
    here, there, other = plant_all(alice), plant_all(alice, tenant="acme"), plant_all(bob)
    archive = archive_of(*owners_of(alice))
    keys = {row["id"] for row in rows_of(archive, "threads")}
    assert keys == {here.thread.key, there.thread.key}
    assert {row["tenant"] for row in rows_of(archive, "requests")} == {"", "acme"}
    assert other.thread.key not in all_text(archive)


def test_a_thread_of_the_same_name_of_another_owner_takes_nothing_along(
    alice: User, bob: User
) -> None:
    """Ids of a site's own store need not be unique."""
    hers, his = plant_all(alice), plant_all(bob)
    for row in (his.turn, his.turn.client_events.get(), his.turn.ratings.get()):
        row.thread_id = hers.thread.key
        row.save()
    text = all_text(archive_of(owner_of(alice)))
    assert his.turn.trace_id not in text
    assert his.marks["rated"] not in text


def test_what_a_turn_tells_has_the_names_of_the_read_api(alice: User) -> None:
    planted = plant_all(alice)
    [turn] = rows_of(archive_of(owner_of(alice)), "turns")
    assert turn["trace_id"] == planted.turn.trace_id
    assert turn["prompt"] == planted.marks["turn-prompt"]
    assert [line["kind"] for line in turn["messages"]] == ["prompt", "response", "thought"]
    assert turn["spans"] == [{"id": "1", "name": planted.marks["span"]}]
    [fact] = turn["facts"]
    assert (fact["key"], fact["value"]) == ("plan", planted.marks["fact"])
    assert {each["destination"] for each in turn["deliveries"]} == {"anosys"}
    assert "client_events" not in turn


def test_chatkit_s_own_json_is_json_and_what_is_none_is_text(alice: User) -> None:
    planted = plant(alice)
    Thread.objects.filter(pk=planted.thread.pk).update(payload="{broken")
    archive = archive_of(owner_of(alice))
    assert rows_of(archive, "threads")[0]["chatkit"] == "{broken"
    first, _ = rows_of(archive, "items")
    assert first["chatkit"] == {"content": planted.marks["prompt-item"]}
    assert first["thread_id"] == planted.thread.key


class TestFiles:
    def test_each_file_is_at_the_place_that_its_row_names(self, alice: User) -> None:
        planted = plant(alice)
        loose: dict[str, str] = {}
        plant_attachment(alice, loose)
        archive = archive_of(owner_of(alice))
        sent, unsent = rows_of(archive, "attachments")
        assert archive.read(sent["file"]).decode() == planted.marks["bytes"]
        assert archive.read(unsent["file"]).decode() == loose["bytes"]
        assert (sent["thread_id"], unsent["thread_id"]) == (planted.thread.key, None)

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\n\x1fb", ""]
    )
    def test_no_name_leads_out_of_the_archive(self, alice: User, name: str) -> None:
        Attachment.objects.filter(pk=plant(alice).attachment.pk).update(name=name)
        archive = archive_of(owner_of(alice))
        [file] = [each for each in archive.namelist() if each.startswith("files/")]
        assert file.count("/") == 1
        assert ".." not in file
        assert file.isprintable()
        assert "\\" not in file

    def test_two_files_of_one_name_are_both_there(self, alice: User) -> None:
        planted = [plant(alice), plant(alice)]
        Attachment.objects.update(name="notes.txt")
        archive = archive_of(owner_of(alice))
        contents = {archive.read(row["file"]).decode() for row in rows_of(archive, "attachments")}
        assert contents == {each.marks["bytes"] for each in planted}

    def test_a_missing_file_is_told_and_costs_nothing_else(
        self, alice: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone, there = plant(alice), plant(alice)
        gone.file.unlink()
        export = Export([owner_of(alice)], "alice")
        archive = ZipFile(io.BytesIO(b"".join(export)))
        files = {row["id"]: row["file"] for row in rows_of(archive, "attachments")}
        assert files[gone.attachment.key] is None
        assert archive.read(files[there.attachment.key]).decode() == there.marks["bytes"]
        assert export.files_lost == 1
        assert gone.attachment.key in caplog.text
        assert gone.marks["file-name"] not in caplog.text


def test_the_readme_names_every_document(alice: User) -> None:
    with translation.override("en"):
        archive = archive_of(owner_of(alice))
    readme = archive.read("README.txt").decode()
    assert "holds on alice" in readme
    for name in archive.namelist():
        assert name == "README.txt" or name.partition("/")[0] in readme
    assert {f"{kind.name}.jsonl" for kind in KINDS} < set(archive.namelist())


def test_who_has_nothing_gets_empty_documents(alice: User) -> None:
    archive = archive_of(owner_of(alice))
    assert all(rows_of(archive, kind.name) == [] for kind in KINDS)


def test_more_than_a_batch_is_all_there_in_order(alice: User) -> None:
    plant_many(alice, 2 * BATCH + 1)
    export = Export([owner_of(alice)], "alice")
    archive = ZipFile(io.BytesIO(b"".join(export)))
    keys = [row["id"] for row in rows_of(archive, "threads")]
    assert keys == [f"thr_{number}" for number in range(2 * BATCH + 1)]
    assert export.rows == export.count() == 3 * len(keys)


def test_its_queries_grow_with_batches_and_not_with_rows(alice: User) -> None:
    def queries(count: int) -> int:
        Thread.objects.all().delete()
        for _ in range(count):
            plant_all(alice)
        with CaptureQueriesContext(connection) as captured:
            b"".join(Export([owner_of(alice)], "alice"))
        return len(captured)

    assert queries(20) == queries(1)


def test_memory_stays_flat_however_large_a_file_is(alice: User) -> None:
    planted = plant(alice)
    size = 24 * 1024 * 1024
    noise = bytes(range(256)) * 4096
    with planted.file.open("wb") as file:
        for _ in range(size // len(noise)):
            file.write(noise)
    assert peak_of(lambda: sum(map(len, Export([owner_of(alice)], "alice")))) < size / 4


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that Python held at once, beyond what it had."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_pieces_are_small_and_never_empty(alice: User) -> None:
    planted = plant(alice)
    # Random: what can't be compressed.
    planted.file.write_bytes(os.urandom(3_000_000))
    sizes = [len(piece) for piece in Export([owner_of(alice)], "alice")]
    assert len(sizes) > 5
    assert min(sizes) > 0
    assert max(sizes) < 3 * PIECE_BYTES


def test_an_owner_has_a_key() -> None:
    """Requests that were not let in have none: they are nobody's to take away."""
    with pytest.raises(ValueError, match="has a key"):
        Owner("", "")
