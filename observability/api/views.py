"""The read API: turns, threads, sessions and figures, for programs of the staff."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, ClassVar

from django.apps import apps
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import generics
from rest_framework.authentication import (
    BaseAuthentication,
    SessionAuthentication,
    TokenAuthentication,
)
from rest_framework.pagination import CursorPagination
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from observability import trends
from observability.governance import may_view_content, note_access
from observability.models import Turn
from observability.trends import Range

from .filters import TurnFilter
from .permissions import MayViewTurns
from .serializers import (
    FiguresSerializer,
    RangeSerializer,
    TurnDetailSerializer,
    TurnSerializer,
)

RATE: str | None = "240/min"
"""For each user; the counts are in Django's cache."""

_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_PK = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def authentication_classes() -> list[type[BaseAuthentication]]:
    """The login of the admin and, where the site has DRF's tokens, those."""
    if apps.is_installed("rest_framework.authtoken"):
        return [SessionAuthentication, TokenAuthentication]
    return [SessionAuthentication]


class Throttle(UserRateThrottle):
    """Enough for a person or a script; not enough to copy the whole table unnoticed."""

    scope = "observability"

    def get_rate(self) -> str | None:
        return RATE


class Pages(CursorPagination):
    """By a cursor, so that the millionth turn is found as fast as the first."""

    ordering = ("-started_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


class ReadView(APIView):
    """What all views share: who may read, how often, in which form."""

    authentication_classes = authentication_classes()
    permission_classes = (MayViewTurns,)
    renderer_classes = (JSONRenderer,)
    throttle_classes = (Throttle,)

    def get_serializer_context(self) -> dict[str, Any]:
        return {"may_view_content": may_view_content(self.request.user)}

    def get_serializer(self, shown: Any, *args: Any, **kwargs: Any) -> Any:
        """Whatever turns are about to be shown with their text are noted."""
        serializer = super().get_serializer(shown, *args, **kwargs)  # type: ignore[misc]
        if serializer.context["may_view_content"]:
            note_access(self.request, shown if kwargs.get("many") else [shown])
        return serializer


class TurnList(ReadView, generics.ListAPIView[Turn]):
    """Turns, the newest first."""

    queryset = Turn.objects.select_related("superseded_by")
    serializer_class = TurnSerializer
    pagination_class = Pages
    filter_backends = (DjangoFilterBackend,)
    filterset_class = TurnFilter


class TurnDetail(ReadView, generics.RetrieveAPIView[Turn]):
    """One turn, by its number or its trace id."""

    queryset = Turn.objects.select_related("superseded_by", "span_row").prefetch_related(
        "messages", "client_events", "facts"
    )
    serializer_class = TurnDetailSerializer

    def get_object(self) -> Turn:
        wanted = self.kwargs["id"]
        if _TRACE_ID.fullmatch(wanted):
            return get_object_or_404(self.get_queryset(), trace_id=wanted)
        if _PK.fullmatch(wanted):
            return get_object_or_404(self.get_queryset(), pk=int(wanted))
        raise Http404


class ConversationView(ReadView, generics.ListAPIView[Turn]):
    """Turns that belong together, the oldest first."""

    serializer_class = TurnDetailSerializer
    pagination_class = type("OldestFirst", (Pages,), {"ordering": ("started_at", "id")})
    column: ClassVar[str]

    def get_queryset(self) -> QuerySet[Turn]:
        turns = Turn.objects.filter(**{self.column: self.kwargs[self.column]})
        if not turns.exists():
            raise Http404
        return turns.select_related("superseded_by", "span_row").prefetch_related(
            "messages", "client_events", "facts"
        )


class ThreadDetail(ConversationView):
    """The turns of a thread."""

    column = "thread_id"


class SessionDetail(ConversationView):
    """The turns of one page load of the chat."""

    column = "session_id"


class Metrics(ReadView):
    """The figures of a range until now: from rollups, so it may be long."""

    def get(self, request: Request) -> Response:
        asked = RangeSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        now = timezone.now()
        by = asked.validated_data.get("by")
        has_bars = "range" in asked.validated_data
        if has_bars:
            marks = trends.starts(Range(asked.validated_data["range"]), now)
        else:
            marks = [trends.start(asked.validated_data["hours"], now)]
        found = trends.over(marks, now, by=(by,) if by else ())
        told = FiguresSerializer(
            {
                **{field.name: getattr(found.total, field.name) for field in fields(found.total)},
                "error_rate": found.total.error_rate,
                "since": found.since,
                "until": found.until,
                "gap": found.gap,
                "bars": found.bars if has_bars else [],
                "by": found.by[by] if by else [],
            }
        )
        return Response(told.data)
