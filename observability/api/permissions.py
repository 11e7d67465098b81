"""Who may read traces."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from observability.governance import VIEW


class MayViewTurns(BasePermission):
    """Members of the staff with the permission that Django's admin asks for too."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return user.is_active and user.is_staff and user.has_perm(VIEW)
