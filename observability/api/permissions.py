"""Who may read traces."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

VIEW = "observability.view_turn"
VIEW_CONTENT = "observability.view_content"


class MayViewTurns(BasePermission):
    """Members of the staff with the permission that Django's admin asks for too."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return user.is_active and user.is_staff and user.has_perm(VIEW)


def may_view_content(user: Any) -> bool:
    """Whether somebody who may view turns may also read what was said in them."""
    return bool(user.has_perm(VIEW_CONTENT))
