"""What the list of turns can be narrowed to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..display import milliseconds
from ..models import Turn, TurnQuerySet


class TimeFilter(admin.DateFieldListFilter):
    """A time from … to …, in the current time zone, and the usual ones as links.

    ``?started_at__gte=2026-11-22T14:05``; a time with a zone will do, too.
    """

    template = "observability/time_filter.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, values in list(self.used_parameters.items()):
            times = [_time(value) for value in cast("list[str]", values) if value]
            if times:
                self.used_parameters[name] = times
            else:
                # A field of the form that was left empty.
                del self.used_parameters[name]
        self.since = self._field(self.lookup_kwarg_since)
        self.until = self._field(self.lookup_kwarg_until)
        self.others: list[tuple[str, str]] = []

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.others = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name not in self.expected_parameters()
            for value in values
        ]
        return super().choices(changelist)

    def _field(self, name: str) -> tuple[str, str]:
        """The name and the value of a field of the form."""
        times = cast("list[datetime]", self.used_parameters.get(name, []))
        shown = timezone.localtime(times[-1]).strftime("%Y-%m-%dT%H:%M") if times else ""
        return name, shown


def _time(value: str) -> datetime:
    """Raises IncorrectLookupParameters."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error
    return found if timezone.is_aware(found) else timezone.make_aware(found)


class ErrorFilter(admin.SimpleListFilter):
    title = _("error")
    parameter_name = "has_error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("ended in an error")), ("no", _("without an error"))]

    def queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Turn]
    ) -> models.QuerySet[Turn]:
        turns = cast("TurnQuerySet", queryset)
        if self.value() == "yes":
            return turns.with_errors()
        return turns.without_errors() if self.value() == "no" else turns


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
        turns = cast("TurnQuerySet", queryset)
        return turns.slower_than(int(value)) if is_number else turns
