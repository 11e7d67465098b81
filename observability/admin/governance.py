"""Who read what."""

from __future__ import annotations

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from ..admin_tools import GivenFilter, RecentValuesFilter
from ..models import ContentAccess
from .about_turns import AboutTurnAdmin


@admin.register(ContentAccess)
class ContentAccessAdmin(AboutTurnAdmin):
    """For superusers: who keeps an eye on those who read."""

    list_display = ("accessed_at", "username", "shown_turn", "owner_key", "path")
    list_filter = (("username", RecentValuesFilter), ("trace_id", GivenFilter), "accessed_at")
    search_fields = ("username", "trace_id", "owner_key")
    fields = ("accessed_at", "username", "shown_turn", "trace_id", "owner_key", "path")
    readonly_fields = ("shown_turn",)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)
