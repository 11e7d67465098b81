"""What the list of turns can be narrowed to."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..display import milliseconds
from ..models import ERRORS, Turn


class ErrorFilter(admin.SimpleListFilter):
    title = _("error")
    parameter_name = "has_error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("ended in an error")), ("no", _("without an error"))]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        if self.value() == "yes":
            return queryset.filter(status__in=ERRORS)
        return queryset.exclude(status__in=ERRORS) if self.value() == "no" else queryset


class SlowerFilter(admin.SimpleListFilter):
    title = _("time in all")
    parameter_name = "slower_than_ms"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (str(seconds * 1000), _("more than %(time)s") % {"time": milliseconds(seconds * 1000)})
            for seconds in (1, 3, 10, 30, 60)
        ]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        value = self.value() or ""
        # Any number will do: a link may name its own.
        is_number = value.isascii() and value.isdigit() and len(value) < 10
        return queryset.filter(total_ms__gt=int(value)) if is_number else queryset
