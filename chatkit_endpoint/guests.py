"""Guests: visitors without an account, who own their threads through the session."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.dispatch import receiver

from observability.models import ClientEvent, EndpointRequest, Feedback, Hold, Turn

from .models import Attachment, Thread
from .owners import owner_key_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

SESSION_KEY = "chatkit_guest"


def guest_key(request: HttpRequest) -> str:
    """The owner key of this session's guest, made at the first call."""
    guest: str | None = request.session.get(SESSION_KEY)
    if guest is None:
        guest = request.session[SESSION_KEY] = uuid.uuid4().hex
    return f"guest:{guest}"


@receiver(user_logged_in, dispatch_uid="chatkit_endpoint.adopt")
def adopt(sender: Any, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
    """What the guest of this session had goes over to the account that just signed in."""
    session = getattr(request, "session", None)
    if session is None or SESSION_KEY not in session:
        return
    guest = f"guest:{session.pop(SESSION_KEY)}"
    owner_key = owner_key_of(user)
    with transaction.atomic():
        for model in (Thread, Attachment, Turn):
            rows: Any = model._default_manager.filter(owner_key=guest)
            rows.update(owner_key=owner_key, user=user)
        for kept in (Feedback, Hold, EndpointRequest):
            owned: Any = kept._default_manager.filter(owner_key=guest)
            owned.update(owner_key=owner_key)
        same = {name: OuterRef(name) for name in ("tenant", "session_id", "name", "occurred_at")}
        known = ClientEvent.objects.filter(owner_key=owner_key, **same)
        events = ClientEvent.objects.filter(owner_key=guest)
        # A batch that was sent again just now is here twice: once is enough.
        events.filter(Exists(known)).delete()
        events.update(owner_key=owner_key, user=user)
