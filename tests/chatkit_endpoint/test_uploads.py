"""Files over HTTP: who may send, see and delete them, and what is answered to everybody else."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent
from agents.testing import ScriptedModel, assistant_message
from chatkit.types import Attachment as ChatKitAttachment
from chatkit.types import FileAttachment, ImageAttachment
from django.contrib.auth.models import User
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.test import AsyncClient
from pydantic import TypeAdapter
from pytest_django import Settings

from chatkit_endpoint.context import RequestContext
from chatkit_endpoint.models import Attachment, Thread
from chatkit_endpoint.uploads import QuotaHandler
from observability.models import Hold
from tests.chatkit_endpoint.sample_files import EXE, HTML, PDF, PNG, SVG, TEXT, ZIP

pytestmark = pytest.mark.django_db(transaction=True)

DIRECT = "/chatkit/attachments/"
FORM = "multipart/form-data; boundary=limit"

_adapter: TypeAdapter[ChatKitAttachment] = TypeAdapter(ChatKitAttachment)
_model = ScriptedModel()


def scripted_agent(context: RequestContext) -> Agent[Any]:
    """What CHATKIT_AGENT names here."""
    return Agent(name="scripted", model=_model)


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.CHATKIT_AGENT = f"{__name__}.scripted_agent"
    return tmp_path / "media"


@pytest.fixture
def model() -> ScriptedModel:
    global _model
    _model = ScriptedModel([[assistant_message("I see.", item_id="m1")]] * 2)
    return _model


async def visitor(name: str) -> AsyncClient:
    """A browser with that person signed in; without a name, with nobody."""
    client = AsyncClient()
    if name:
        user, _ = await User.objects.aget_or_create(username=name)
        await client.aforce_login(user)
    return client


def form(
    content: bytes, name: str = "cat.png", mime_type: str = "image/png", field: str = "file"
) -> dict[str, Any]:
    """The body and type of an upload as a browser sends it, for a client's ``post``."""
    return {"data": body_of([(field, name, mime_type, content)]), "content_type": FORM}


def body_of(parts: list[tuple[str, str, str, bytes]]) -> bytes:
    """A form's body. By hand: Django's client lets no hostile name pass."""
    return (
        b"".join(
            f'--limit\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
            f"Content-Type: {mime_type}\r\n\r\n".encode()
            + content
            + b"\r\n"
            for field, name, mime_type, content in parts
        )
        + b"--limit--\r\n"
    )


async def send(client: AsyncClient, url: str, *args: Any, **values: Any) -> Any:
    return await client.post(url, **form(*args, **values))


async def ask(client: AsyncClient, operation: str, **params: Any) -> Any:
    """One ChatKit request; a stream is read to its end, into ``events``."""
    response: Any = await client.post(
        "/chatkit",
        data=json.dumps({"type": operation, "params": params}),
        content_type="application/json",
    )
    if response.streaming:
        stream: AsyncIterator[bytes] = aiter(response)
        content = b"".join([part async for part in stream])
        response.events = [json.loads(line[6:]) for line in content.split(b"\n\n") if line]
    return response


async def announce(client: AsyncClient, **values: Any) -> Any:
    params = {"name": "cat.png", "size": len(PNG), "mime_type": "image/png", **values}
    return await ask(client, "attachments.create", **params)


def message(*attachments: str) -> dict[str, Any]:
    return {
        "content": [{"type": "input_text", "text": "Look"}],
        "attachments": list(attachments),
        "inference_options": {},
    }


def files_in(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def code(response: Any) -> tuple[int, str]:
    """The status and the code of a refusal, which is JSON with a message for people."""
    assert response["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert error["message"]
    return response.status_code, error["code"]


# -- in -----------------------------------------------------------------------------------------


async def test_a_file_goes_in_directly_and_out_again() -> None:
    alice = await visitor("alice")
    response = await send(alice, DIRECT, PNG, "../Kätzchen.png")
    assert response.status_code == 200
    attachment = _adapter.validate_json(response.content)
    assert isinstance(attachment, ImageAttachment)
    assert (attachment.name, attachment.mime_type) == ("Kätzchen.png", "image/png")
    assert "upload_descriptor" not in response.json()
    assert "metadata" not in response.json()
    assert str(attachment.preview_url) == f"http://testserver{DIRECT}{attachment.id}/preview"
    assert (await alice.get(f"{DIRECT}{attachment.id}/")).content == PNG
    assert (await alice.get(str(attachment.preview_url))).content == PNG


async def test_a_file_goes_in_in_two_phases_and_to_the_model_and_away_with_its_thread(
    model: ScriptedModel, media: Path
) -> None:
    alice = await visitor("alice")
    announced = _adapter.validate_json((await announce(alice)).content)
    assert announced.upload_descriptor is not None
    url = str(announced.upload_descriptor.url)
    assert url == f"http://testserver{DIRECT}{announced.id}/upload"
    uploaded = _adapter.validate_json((await send(alice, url, PNG)).content)
    assert uploaded == announced.model_copy(update={"upload_descriptor": None})

    answer = await ask(alice, "threads.create", input=message(announced.id))
    types = [event["type"] for event in answer.events]
    assert "error" not in types
    done = next(event["item"] for event in answer.events if event["type"] == "thread.item.done")
    assert done["attachments"][0]["id"] == announced.id
    assert model.last_call is not None
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in str(model.last_call.input)

    thread_id = answer.events[0]["thread"]["id"]
    shown = (await ask(alice, "threads.get_by_id", thread_id=thread_id)).json()
    assert shown["items"]["data"][0]["attachments"][0]["name"] == "cat.png"
    # The next turn tells the model of it again.
    again = await ask(alice, "threads.add_user_message", thread_id=thread_id, input=message())
    assert "error" not in [event["type"] for event in again.events]
    assert len(model.calls) == 2
    assert "data:image/png" in str(model.last_call.input)

    assert len(files_in(media)) == 1
    assert (await ask(alice, "threads.delete", thread_id=thread_id)).status_code == 200
    assert files_in(media) == []
    assert (await alice.get(f"{DIRECT}{announced.id}/")).status_code == 404


async def test_the_second_upload_to_one_id_is_refused() -> None:
    alice = await visitor("alice")
    url = (await announce(alice)).json()["upload_descriptor"]["url"]
    assert (await send(alice, url, PNG)).status_code == 200
    assert code(await send(alice, url, PNG)) == (409, "already_uploaded")


@pytest.mark.parametrize("phases", [1, 2])
async def test_the_size_may_be_the_limit_and_not_a_byte_more(
    settings: Settings, media: Path, phases: int
) -> None:
    settings.CHATKIT_ATTACHMENT_MAX_BYTES = len(PNG)
    alice = await visitor("alice")

    async def place() -> str:
        if phases == 1:
            return DIRECT
        return str((await announce(alice)).json()["upload_descriptor"]["url"])

    url = await place()
    assert code(await send(alice, url, PNG + b"\0")) == (413, "file_too_large")
    assert files_in(media) == []
    assert (await send(alice, url, PNG)).status_code == 200
    assert code(await announce(alice, size=len(PNG) + 1)) == (413, "file_too_large")


@pytest.mark.parametrize(
    ("content", "name", "mime_type"),
    [
        (HTML, "cat.png", "image/png"),
        (SVG, "cat.png", "image/png"),
        (SVG, "cat.svg", "image/svg+xml"),
        (HTML, "page.html", "text/html"),
        (ZIP, "42.zip", "application/zip"),
        (ZIP, "cv.pdf", "application/pdf"),
        (EXE, "notes.txt", "text/plain"),
        (PNG, "cat.png", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_is_not_allowed_or_not_what_it_says_is_refused(
    media: Path, content: bytes, name: str, mime_type: str
) -> None:
    alice = await visitor("alice")
    assert code(await send(alice, DIRECT, content, name, mime_type)) == (415, "file_type_refused")
    assert files_in(media) == []
    assert not await Attachment.objects.aexists()


async def test_too_many_files_are_refused(settings: Settings) -> None:
    settings.CHATKIT_ATTACHMENT_MAX_COUNT = 1
    alice = await visitor("alice")
    first = (await send(alice, DIRECT, PNG)).json()["id"]
    assert code(await send(alice, DIRECT, PNG)) == (409, "too_many_files")
    assert code(await announce(alice)) == (409, "too_many_files")
    answer = await ask(alice, "threads.create", input=message(first, first))
    assert code(answer) == (409, "too_many_files")
    assert not await Thread.objects.aexists()


async def test_uploads_are_counted_against_their_owner(settings: Settings) -> None:
    settings.CHATKIT_RATE_LIMIT = "1/h"
    alice, bob = await visitor("alice"), await visitor("bob")
    assert (await send(alice, DIRECT, PNG)).status_code == 200
    refused = await send(alice, DIRECT, PNG)
    assert code(refused) == (429, "rate_limited")
    assert int(refused["Retry-After"]) > 0
    assert (await send(bob, DIRECT, PNG)).status_code == 200


async def test_both_phases_and_what_is_dictated_are_counted_each_in_its_place(
    settings: Settings,
) -> None:
    settings.CHATKIT_RATE_LIMIT = "2/h"
    alice = await visitor("alice")
    urls = [(await announce(alice)).json()["upload_descriptor"]["url"] for _ in range(2)]
    # Announced and dictated like a message is sent.
    assert code(await announce(alice)) == (429, "rate_limited")
    dictated = await ask(alice, "input.transcribe", audio_base64="", mime_type="audio/webm")
    assert code(dictated) == (429, "rate_limited")
    # The bytes count by themselves, whichever way they come.
    assert (await send(alice, urls[0], PNG)).status_code == 200
    assert (await send(alice, DIRECT, PNG)).status_code == 200
    assert code(await send(alice, urls[1], PNG)) == (429, "rate_limited")
    assert code(await send(alice, DIRECT, PNG)) == (429, "rate_limited")


async def test_each_request_for_a_file_has_its_two_lines_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    alice, nobody = await visitor("alice"), await visitor("")
    caplog.set_level("INFO")

    def lines() -> list[Any]:
        told = [record for record in caplog.records if record.name.endswith(".access_log")]
        assert [record.message for record in told] == ["chat in", "chat out"]
        caplog.clear()
        return [record.fields for record in told]  # type: ignore[attr-defined]

    key = (await send(alice, DIRECT, PNG, "private-name.png")).json()["id"]
    user = (await Attachment.objects.aget()).owner_key
    came, went = lines()
    assert (came["method"], came["path"], came["user"]) == ("POST", DIRECT, user)
    assert (went["operation"], went["status"]) == ("attachments.create", 200)
    assert "private-name" not in f"{came} {went} {caplog.text}"
    for client, path, operation, status in (
        (alice, f"{key}/", "attachments.download", 200),
        (alice, f"{key}/preview", "attachments.preview", 200),
        (alice, "atc_missing/", "attachments.download", 404),
        (nobody, f"{key}/", None, 401),
    ):
        await client.get(f"{DIRECT}{path}")
        came, went = lines()
        assert came["path"] == f"{DIRECT}{path}"
        assert (went.get("operation"), went["status"]) == (operation, status)
        assert went.get("user") == (user if client is alice else None)
    await send(alice, f"{DIRECT}atc_missing/upload", PNG)
    assert lines()[1]["operation"] == "attachments.upload"
    settings.CHATKIT_ATTACHMENT_MAX_BYTES = 10
    await send(alice, DIRECT, PNG)
    assert lines()[1]["status"] == 413


@pytest.mark.parametrize(
    "body",
    [
        {"data": b"", "content_type": FORM},
        {"data": b"{}", "content_type": "application/json"},
        {"data": PNG, "content_type": "image/png"},
        {"data": b"x", "content_type": "multipart/form-data"},
        {"data": form(PNG)["data"][:-40], "content_type": "multipart/form-data; boundary=other"},
        form(PNG, field="upload"),
        form(b""),
        {
            "data": body_of([("file", "a.png", "image/png", PNG)] * 2),
            "content_type": FORM,
        },
    ],
)
async def test_what_is_no_form_with_one_file_is_refused_in_json(body: dict[str, Any]) -> None:
    alice = await visitor("alice")
    assert code(await alice.post(DIRECT, **body)) == (400, "invalid_request")
    assert not await Attachment.objects.aexists()


async def test_what_can_not_be_stored_is_a_server_error_in_json(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    failing = "tests.chatkit_endpoint.test_attachments.FailingStorage"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": failing}}
    alice = await visitor("alice")
    assert code(await send(alice, DIRECT, PNG, "secret.png")) == (500, "server_error")
    assert not await Attachment.objects.aexists()
    assert "A file was not handled: OSError" in caplog.messages
    assert not any("secret" in line for line in caplog.messages)


def test_the_quota_stops_a_file_while_it_is_read() -> None:
    quota = QuotaHandler(10)
    assert quota.receive_data_chunk(b"x" * 6, 0) == b"x" * 6
    assert quota.receive_data_chunk(b"x" * 4, 6) == b"x" * 4
    assert not quota.exceeded
    with pytest.raises(StopUpload):
        quota.receive_data_chunk(b"x", 10)
    assert quota.exceeded


class CountingHandler(FileUploadHandler):
    """Stands where Django keeps a file, and counts what it would have kept."""

    kept = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        CountingHandler.kept += len(raw_data)

    def file_complete(self, file_size: int) -> None:
        pass


@pytest.mark.parametrize("guests", [False, True])
async def test_of_a_file_that_is_too_large_nothing_is_kept_while_it_is_read(
    settings: Settings, guests: bool
) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = guests
    settings.CHATKIT_ATTACHMENT_MAX_BYTES = 200_000
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.{CountingHandler.__name__}"]
    CountingHandler.kept = 0
    client = await visitor("" if guests else "alice")
    assert code(await send(client, DIRECT, PNG + b"\0" * 5_000_000)) == (413, "file_too_large")
    assert 0 < CountingHandler.kept <= 200_000


@pytest.mark.parametrize("guests", [False, True])
async def test_an_upload_from_another_site_is_refused(settings: Settings, guests: bool) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = guests
    client = AsyncClient(enforce_csrf_checks=True)
    if not guests:
        await client.aforce_login(await User.objects.acreate(username="alice"))
    url = f"{DIRECT}atc_missing/upload"
    assert code(await send(client, DIRECT, PNG)) == (403, "csrf_failed")
    assert code(await send(client, url, PNG)) == (403, "csrf_failed")
    await client.get("/accounts/login/")
    token = client.cookies["csrftoken"].value
    allowed = await client.post(DIRECT, **form(PNG), headers={"X-CSRFToken": token})
    assert allowed.status_code == 200


# -- out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "mime_type", "served_as", "disposition"),
    [
        (PNG, "cat.png", "image/png", "image/png", 'inline; filename="cat.png"'),
        (PDF, "cv.pdf", "application/pdf", "application/pdf", 'attachment; filename="cv.pdf"'),
        (
            HTML,
            "notes.txt",
            "text/plain",
            "text/plain; charset=utf-8",
            'attachment; filename="notes.txt"',
        ),
        (TEXT, "a.csv", "text/csv", "application/octet-stream", 'attachment; filename="a.csv"'),
        (HTML, "x.html", "text/html", "application/octet-stream", 'attachment; filename="x.html"'),
        (
            SVG,
            "x.svg",
            "image/svg+xml",
            "application/octet-stream",
            'attachment; filename="x.svg"',
        ),
        (
            PNG,
            'a"\r\nb\u202eü.png',
            "image/png",
            "image/png",
            "inline; filename*=utf-8''a%22b%C3%BC.png",
        ),
    ],
    ids=["png", "pdf", "html as txt", "csv", "html", "svg", "hostile name"],
)
async def test_nothing_that_could_run_is_shown_in_the_page(
    settings: Settings, content: bytes, name: str, mime_type: str, served_as: str, disposition: str
) -> None:
    settings.CHATKIT_ATTACHMENT_TYPES = (
        "application/pdf",
        "image/png",
        "image/svg+xml",
        "text/csv",
        "text/html",
        "text/plain",
    )
    alice = await visitor("alice")
    if "\r" in name:
        # A form's header can't hold such a name, JSON can.
        url = (await announce(alice, name=name, size=len(content))).json()["upload_descriptor"][
            "url"
        ]
        response = await send(alice, url, content)
    else:
        response = await send(alice, DIRECT, content, name, mime_type)
    key = response.json()["id"]
    download = await alice.get(f"{DIRECT}{key}/")
    assert download.content == content
    assert download["Content-Type"] == served_as
    assert download["Content-Disposition"] == disposition
    assert download["X-Content-Type-Options"] == "nosniff"
    assert download["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert download["Cache-Control"] == "private, no-store"
    assert download["Content-Length"] == str(len(content))
    preview = await alice.get(f"{DIRECT}{key}/preview")
    if mime_type == "image/png":
        assert preview.content == content
        assert preview["Content-Disposition"].startswith("inline")
    else:
        assert code(preview) == (404, "not_found")


async def test_a_file_that_is_not_uploaded_yet_can_not_be_had_or_sent(model: ScriptedModel) -> None:
    alice = await visitor("alice")
    key = (await announce(alice)).json()["id"]
    assert code(await alice.get(f"{DIRECT}{key}/")) == (404, "not_found")
    assert code(await alice.get(f"{DIRECT}{key}/preview")) == (404, "not_found")
    assert code(await ask(alice, "threads.create", input=message(key))) == (400, "invalid_request")
    assert not await Thread.objects.aexists()
    assert not model.calls


async def test_a_file_of_one_thread_can_not_be_sent_in_another(model: ScriptedModel) -> None:
    alice = await visitor("alice")
    key = (await send(alice, DIRECT, PNG)).json()["id"]
    await ask(alice, "threads.create", input=message(key))
    answer = await ask(alice, "threads.create", input=message(key))
    assert code(answer) == (400, "invalid_request")
    assert await Thread.objects.acount() == 1


async def test_a_file_of_a_thread_on_hold_can_not_be_deleted(
    media: Path, model: ScriptedModel
) -> None:
    alice = await visitor("alice")
    key = (await send(alice, DIRECT, PNG)).json()["id"]
    await ask(alice, "threads.create", input=message(key))
    thread = await Thread.objects.aget()
    await Hold.objects.acreate(owner_key=thread.owner_key, thread_id=thread.key, reason="An audit")
    answer = await ask(alice, "attachments.delete", attachment_id=key)
    assert code(answer) == (409, "held")
    assert len(files_in(media)) == 1


async def test_what_its_owner_deletes_is_gone_with_its_bytes(media: Path) -> None:
    alice = await visitor("alice")
    key = (await send(alice, DIRECT, PNG)).json()["id"]
    assert (await ask(alice, "attachments.delete", attachment_id=key)).content == b"{}"
    assert files_in(media) == []
    assert not await Attachment.objects.aexists()
    answer = await ask(alice, "attachments.delete", attachment_id=key)
    assert code(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("get", DIRECT, "POST"),
        ("put", f"{DIRECT}x/upload", "POST"),
        ("post", f"{DIRECT}x/", "GET, HEAD"),
        ("delete", f"{DIRECT}x/", "GET, HEAD"),
        ("post", f"{DIRECT}x/preview", "GET, HEAD"),
    ],
)
async def test_other_methods_are_refused_in_json(method: str, path: str, allowed: str) -> None:
    alice = await visitor("alice")
    response = await getattr(alice, method)(path)
    assert code(response) == (405, "method_not_allowed")
    assert response["Allow"] == allowed


# -- nobody else --------------------------------------------------------------------------------


def tenant_of(request: Any) -> str:
    """What CHATKIT_TENANT names here."""
    return str(request.COOKIES.get("tenant", ""))


ACCESSES = ("upload", "download", "preview", "delete", "send")
STRANGERS = (
    "another user",
    "another tenant",
    "a guest",
    "another guest",
    "staff",
    "superuser",
    "nobody",
)


async def access(client: AsyncClient, how: str, key: str) -> tuple[int, bytes, dict[str, str]]:
    """Everything that an answer says, but for the id of its request."""
    if how == "upload":
        response = await send(client, f"{DIRECT}{key}/upload", PNG)
    elif how == "delete":
        response = await ask(client, "attachments.delete", attachment_id=key)
    elif how == "send":
        response = await ask(client, "threads.create", input=message(key))
    else:
        response = await client.get(f"{DIRECT}{key}/{'preview' if how == 'preview' else ''}")
    headers = {name: value for name, value in response.items() if name != "X-Request-ID"}
    return response.status_code, b"" if response.streaming else response.content, headers


async def stranger(who: str, settings: Settings) -> AsyncClient:
    settings.CHATKIT_ALLOW_ANONYMOUS = "guest" in who
    if who == "another tenant":
        client = AsyncClient()
        client.cookies["tenant"] = "other"
        await client.aforce_login(await User.objects.aget(username="alice"))
        return client
    if who in ("staff", "superuser"):
        client = AsyncClient()
        is_root = who == "superuser"
        staff = await User.objects.acreate(username="otto", is_staff=True, is_superuser=is_root)
        await client.aforce_login(staff)
        return client
    return await visitor({"another user": "bob"}.get(who, ""))


@pytest.mark.parametrize("how", ACCESSES)
@pytest.mark.parametrize("who", STRANGERS)
async def test_a_foreign_file_answers_exactly_as_a_missing_one_does(
    settings: Settings, media: Path, how: str, who: str
) -> None:
    settings.CHATKIT_TENANT = f"{__name__}.tenant_of"
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    alice = await visitor("" if who == "another guest" else "alice")
    finished = (await send(alice, DIRECT, PNG)).json()["id"]
    unfinished = (await announce(alice)).json()["id"]
    eve = await stranger(who, settings)
    missing = f"atc_{'0' * 32}"
    expected = await access(eve, how, missing)
    assert expected[0] == (401 if who == "nobody" else 404)
    for key in (finished, unfinished):
        assert await access(eve, how, key) == expected
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    assert (await alice.get(f"{DIRECT}{finished}/")).content == PNG
    assert len(files_in(media)) == 1
    assert (await send(alice, f"{DIRECT}{unfinished}/upload", PNG)).status_code == 200


@pytest.mark.parametrize("how", ACCESSES)
@pytest.mark.parametrize("who", ["alice", ""])
async def test_the_owner_of_a_file_gets_through_as_a_user_and_as_a_guest(
    settings: Settings, model: ScriptedModel, how: str, who: str
) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = not who
    owner = await visitor(who)
    response = await (announce(owner) if how == "upload" else send(owner, DIRECT, PNG))
    assert (await access(owner, how, response.json()["id"]))[0] == 200


async def test_a_guest_who_signs_in_keeps_their_files(settings: Settings) -> None:
    settings.CHATKIT_ALLOW_ANONYMOUS = True
    await User.objects.acreate_user("alice", password="correct horse")
    client = await visitor("")
    key = (await send(client, DIRECT, PNG)).json()["id"]
    assert await client.alogin(username="alice", password="correct horse")
    assert (await client.get(f"{DIRECT}{key}/")).content == PNG
    row = await Attachment.objects.select_related("user").aget(key=key)
    assert row.user is not None
    assert row.user.get_username() == "alice"


async def test_an_attachment_of_another_kind_is_told_apart() -> None:
    alice = await visitor("alice")
    response = await send(alice, DIRECT, PDF, "cv.pdf", "application/pdf")
    assert isinstance(_adapter.validate_json(response.content), FileAttachment)
