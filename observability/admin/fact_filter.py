"""Narrows the list of turns to those of which the site knows something."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..display import shorten
from ..governance import may_view_content
from ..models import Turn, TurnFact


class FactFilter(admin.SimpleListFilter):
    """``?fact=key``, or ``?fact=key:value``: of an object, its primary key will do as well.

    It is shown only while it narrows the list. Who may not read what was said finds nothing by it.
    """

    title = _("fact")
    parameter_name = "fact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        value = self.value()
        return [(value, shorten(value))] if value else []

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        key, colon, value = (self.value() or "").partition(":")
        if not key:
            return queryset
        if not may_view_content(request.user):
            return queryset.none()
        if not colon:
            # Most turns have it or none do: by the newest turns, each looked up.
            return queryset.filter(Exists(TurnFact.objects.filter(turn=OuterRef("pk"), key=key)))
        told = Q(value=value) | Q(object_id=value) if value else Q(value="")
        facts = TurnFact.objects.filter(told, key=key)
        return queryset.filter(pk__in=facts.order_by().values("turn"))
