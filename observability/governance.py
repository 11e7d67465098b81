"""Who may read what was said, and the record of who did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpRequest

from .models import ContentAccess, Turn

VIEW = "observability.view_turn"
VIEW_CONTENT = "observability.view_content"
PATH_LENGTH = 200


def may_view_content(user: Any) -> bool:
    """Whether somebody who may view turns may also read what was said in them."""
    return bool(user.has_perm(VIEW_CONTENT))


def note_access(request: HttpRequest, turns: Iterable[Turn]) -> None:
    """Keep that the request's user is shown the text of these turns, as far as they have any."""
    ContentAccess.objects.bulk_create(
        _access(request, turn=turn, trace_id=turn.trace_id, owner_key=turn.owner_key)
        for turn in turns
        if not turn.is_text_purged
    )


def note_access_by_id(request: HttpRequest, trace_ids: Sequence[str]) -> None:
    """The same for turns that are not at hand as objects."""
    turns = Turn.objects.with_text().filter(trace_id__in=trace_ids).order_by()
    ContentAccess.objects.bulk_create(
        _access(request, turn_id=pk, trace_id=trace_id, owner_key=owner_key)
        for pk, trace_id, owner_key in turns.values_list("pk", "trace_id", "owner_key")
    )


def note_conversation_access(request: HttpRequest, owner_key: str) -> None:
    """Keep that the user is shown a conversation as such; which one, the path tells."""
    _access(request, owner_key=owner_key).save()


def _access(request: HttpRequest, **fields: Any) -> ContentAccess:
    return ContentAccess(
        user_id=request.user.pk,
        username=request.user.get_username(),
        path=request.path[:PATH_LENGTH],
        **fields,
    )
