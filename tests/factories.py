"""Rows for tests: each function makes one with sensible values, and takes what a test is about."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from chatkit_endpoint.models import Thread, ThreadItem
from observability.models import ClientEvent, Delivery, EndpointRequest, Message, Turn


def make_user(username: str = "vera", **fields: Any) -> User:
    """A visitor, without a password unless one is given: hashing takes long, so log in by force."""
    return User.objects.create_user(username=username, **fields)


def make_operator(*permissions: str, username: str = "otto") -> User:
    """A member of the staff with these permissions (``app.codename``); a superuser without any."""
    user = make_user(username, is_staff=True, is_superuser=not permissions)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return user


def make_turn(
    prompt: str = "What time is it?",
    response: str = "It is noon.",
    *,
    thought: str = "",
    age: timedelta = timedelta(minutes=5),
    user: User | None = None,
    **fields: Any,
) -> Turn:
    """A turn that started ``age`` ago, settled as completed unless ``status`` says otherwise.

    It has its messages, as far as their texts are not empty.
    """
    status = fields.setdefault("status", Turn.Status.COMPLETED)
    fields.setdefault("started_at", timezone.now() - age)
    fields.setdefault("owner_key", f"user:{user.pk}" if user else "guest:1")
    if status == Turn.Status.RUNNING:
        fields.setdefault("lease_expires_at", timezone.now() + timedelta(seconds=30))
        return Turn.objects.create(user=user, prompt=prompt, **fields)
    for name, value in {
        "ttft_ms": 400,
        "duration_ms": 1600,
        "total_ms": 2000,
        "ended_at": fields["started_at"] + timedelta(seconds=2),
    }.items():
        fields.setdefault(name, value)
    turn = Turn.objects.create(user=user, prompt=prompt, response=response, **fields)
    texts = (
        (Message.Kind.PROMPT, prompt),
        (Message.Kind.THOUGHT, thought),
        (Message.Kind.RESPONSE, response),
    )
    for kind, text in texts:
        if text:
            make_message(turn, kind, text)
    return turn


def make_message(turn: Turn, kind: Message.Kind, text: str) -> Message:
    """The turn's next message."""
    return Message.objects.create(
        turn=turn,
        position=turn.messages.count(),
        kind=kind,
        item_id=f"msg_{uuid.uuid4().hex}",
        text=text,
        created_at=turn.started_at,
    )


def make_client_event(turn: Turn | None = None, **fields: Any) -> ClientEvent:
    """What the browser told of this turn, or of nothing that is known; a timing of no figures."""
    now = timezone.now()
    return ClientEvent.objects.create(
        **{
            "name": ClientEvent.Name.TIMING,
            "turn": turn,
            "user": turn.user if turn else None,
            "owner_key": turn.owner_key if turn else "guest:1",
            "session_id": "session-1",
            "occurred_at": now,
            "received_at": now,
            **fields,
        }
    )


def make_delivery(turn: Turn | None = None, **fields: Any) -> Delivery:
    """A delivery of this turn: pending and due, unless ``state`` says otherwise."""
    if fields.get("state") == Delivery.State.LEASED:
        fields.setdefault("lease_token", uuid.uuid4())
        fields.setdefault("lease_expires_at", timezone.now() + timedelta(seconds=60))
    elif fields.get("state", Delivery.State.PENDING) != Delivery.State.PENDING:
        fields.setdefault("settled_at", timezone.now())
    return Delivery.objects.create(
        **{
            "destination": "anosys",
            "kind": Delivery.Kind.TURN,
            "event_id": turn.trace_id if turn else uuid.uuid4().hex,
            "turn": turn,
            **fields,
        }
    )


def make_thread(
    title: str = "The time",
    *,
    user: User | None = None,
    updated_at: datetime | None = None,
    **fields: Any,
) -> Thread:
    """An empty thread, last written in just now."""
    now = timezone.now()
    key = fields.setdefault("key", f"thr_{uuid.uuid4().hex}")
    fields.setdefault("owner_key", f"user:{user.pk}" if user else "guest:1")
    fields.setdefault("created_at", now)
    payload = {"id": key, "title": title, "created_at": now.isoformat()}
    return Thread.objects.create(
        user=user, title=title, payload=json.dumps(payload), updated_at=updated_at or now, **fields
    )


def make_item(thread: Thread, type: str, **payload: Any) -> ThreadItem:  # noqa: A002 (ChatKit's word)
    """The thread's next item, with what ChatKit's JSON of such an item holds."""
    now = timezone.now()
    key = f"itm_{uuid.uuid4().hex}"
    base = {"id": key, "thread_id": thread.key, "created_at": now.isoformat(), "type": type}
    return ThreadItem.objects.create(
        thread=thread, key=key, type=type, payload=json.dumps(base | payload), created_at=now
    )


def make_prompt(thread: Thread, text: str, **payload: Any) -> ThreadItem:
    """What a visitor wrote in the thread."""
    content = [{"type": "input_text", "text": text}]
    return make_item(
        thread,
        "user_message",
        **{"content": content, "attachments": [], "inference_options": {}, **payload},
    )


def make_answer(thread: Thread, text: str) -> ThreadItem:
    """What the assistant wrote in the thread."""
    return make_item(
        thread,
        "assistant_message",
        content=[{"type": "output_text", "text": text, "annotations": []}],
    )


def make_request(*, age: timedelta = timedelta(seconds=1), **fields: Any) -> EndpointRequest:
    """A request that came ``age`` ago and was answered with 200 in 20 ms."""
    fields.setdefault("started_at", timezone.now() - age)
    return EndpointRequest.objects.create(
        **{"operation": "threads.list", "status": 200, "total_ms": 20, **fields}
    )
