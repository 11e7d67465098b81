"""Who may read what was said, and the record of who did."""

from __future__ import annotations

from collections.abc import Iterable
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
    user = request.user
    ContentAccess.objects.bulk_create(
        ContentAccess(
            user_id=user.pk,
            username=user.get_username(),
            turn=turn,
            trace_id=turn.trace_id,
            owner_key=turn.owner_key,
            path=request.path[:PATH_LENGTH],
        )
        for turn in turns
        if not turn.is_text_purged
    )
