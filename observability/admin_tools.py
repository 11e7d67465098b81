"""What the admin pages of all apps are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from .display import UNKNOWN, shorten, visible
from .encryption import UndecryptableError

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator
    ModelAdmin = admin.ModelAdmin


class ValueFilter(admin.FieldListFilter):
    """Narrows a list to the rows with a value: ``?field=value``."""

    def expected_parameters(self) -> list[str | None]:
        return [self.field_path]

    def offered(self) -> list[Any]:
        """The values to choose from, without the one that is chosen."""
        return []

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = cast("list[str]", self.used_parameters.get(self.field_path, []))
        yield {
            "selected": not chosen,
            "query_string": changelist.get_query_string(remove=[self.field_path]),
            "display": _("All"),
        }
        for value in sorted({*chosen, *self.offered()}):
            yield {
                "selected": value in chosen,
                "query_string": changelist.get_query_string({self.field_path: value}),
                "display": self._shown(value),
            }

    def _shown(self, value: str) -> str:
        if self.field.related_model is None:
            return shorten(value) or UNKNOWN
        related = self.field.related_model._default_manager.filter(pk=value).first()
        return UNKNOWN if related is None else shorten(str(related))


class GivenFilter(ValueFilter):
    """For values that only a link can give. It is shown only while it narrows the list."""

    def has_output(self) -> bool:
        return bool(self.used_parameters)


class RecentValuesFilter(ValueFilter):
    """Offers the values that the newest rows have: to look at all rows would take too long."""

    ROWS = 1000

    def offered(self) -> list[Any]:
        newest = self.field.model._default_manager.values_list(self.field_path, flat=True)[
            : self.ROWS
        ]
        return list(newest)


class CappedPaginator(AnyPaginator):
    """Counts no further than ``at_most``: to count a million rows takes longer than to show fifty.

    What lies beyond is found by narrowing the list.
    """

    at_most = 1_000
    keeps_order = False
    """Whether to count by the index that the rows are shown by, and not by whichever is best."""

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than were counted."""
        return self._counted > self.at_most

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.at_most)

    @cached_property
    def _counted(self) -> int:
        rows = cast("models.QuerySet[Any]", self.object_list)
        rows = rows if self.keeps_order else rows.order_by()
        return rows.values("pk")[: self.at_most + 1].count()


class ReadOnlyAdmin(ModelAdmin):
    """Rows that the program writes and people read."""

    list_per_page = 20
    paginator = CappedPaginator
    # Counting all rows, or all rows of each filter, takes longer than everything else on the page.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("observability/admin.css",)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


class PageAdmin(ReadOnlyAdmin):
    """Rows that have a page of their own in the place of a form."""

    # The form behind the page shows nothing: one field instead of all.
    fields = ("pk",)

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page shows, added to the context of Django's own change form."""
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            response = super().change_view(request, object_id, form_url, extra_context)
            if isinstance(response, SimpleTemplateResponse):
                response.render()  # Here, since it is what reads most of the texts.
        except UndecryptableError:
            keyless = _("What was said here can’t be shown: none of the site’s keys opens it.")
            self.message_user(request, keyless, messages.ERROR)
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return response

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context.update(self.page_context(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)


def list_link(view: str, parameter: str, value: Any, label: str | None = None) -> str:
    """A link to the rows with this value in the list at ``view``; nothing for no value."""
    if value in {None, ""}:
        return ""
    return format_html(
        '<a href="{}"><bdi>{}</bdi></a>',
        reverse(view, query={parameter: value}),
        visible(str(value)) if label is None else label,
    )
