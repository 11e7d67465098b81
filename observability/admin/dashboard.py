"""Is chat healthy right now?"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.text import capfirst

from .. import dashboard
from ..admin_tools import ReadOnlyAdmin
from ..governance import may_view_content
from ..models import Dashboard
from ..trends import Range


@admin.register(Dashboard)
class DashboardAdmin(ReadOnlyAdmin):
    """One page and no rows."""

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return request.user.has_perm("observability.view_turn")

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "",
                self.admin_site.admin_view(self.changelist_view),
                name="observability_dashboard_changelist",
            )
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return TemplateResponse(
            request,
            "admin/observability/dashboard/change_list.html",
            {
                **self.admin_site.each_context(request),
                "title": capfirst(self.opts.verbose_name),
                "opts": self.opts,
                "media": self.media,
                **dashboard.context(
                    timezone.now(),
                    of=_range(request),
                    shows_content=may_view_content(request.user),
                    may_view_deliveries=request.user.has_perm("observability.view_delivery"),
                ),
                **(extra_context or {}),
            },
        )


def _range(request: HttpRequest) -> Range:
    """The range that is asked for; a link that names none, or one of its own, gets a day."""
    asked = request.GET.get("range")
    return Range(asked) if asked in Range.values else Range.DAY
