"""The API described as OpenAPI 3: imported when that is asked for, and not before.

With the one endpoint of the API that is no view of this app.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from drf_spectacular.views import SpectacularAPIView
from rest_framework.authentication import SessionAuthentication
from rest_framework.parsers import JSONParser
from rest_framework.views import APIView

from observability.urls import read_api

from . import serializers, views
from .batch import Batch
from .permissions import MayViewTurns
from .serializers import FiguresSerializer, RangeSerializer, RecordedSerializer

EVENTS_PATH = "/observability/api/events/"


# Subclasses and no decorators: those count on DEFAULT_SCHEMA_CLASS, which is the site's to choose.
class EventsSchema(AutoSchema):
    def get_request_serializer(self) -> Any:
        return Batch

    def get_response_serializers(self) -> Any:
        return {202: RecordedSerializer}


class TurnSchema(AutoSchema):
    def get_override_parameters(self) -> list[Any]:
        return [OpenApiParameter("id", str, OpenApiParameter.PATH)]


class MetricsSchema(AutoSchema):
    def get_override_parameters(self) -> list[Any]:
        return [RangeSerializer]

    def get_response_serializers(self) -> Any:
        return FiguresSerializer


class Events(APIView):
    """A description: the view itself is where it is known who may chat."""

    authentication_classes = (SessionAuthentication,)
    parser_classes = (JSONParser,)
    schema = EventsSchema()

    def post(self) -> None:
        """What a page tells of its visitor's chat, a batch at a time."""


def document_events(endpoints: list[Any], **_: Any) -> list[Any]:
    """Add the endpoint to those that drf-spectacular found."""
    return [*endpoints, (EVENTS_PATH, EVENTS_PATH, "POST", Events.as_view())]


class Schema(SpectacularAPIView):
    """The API as OpenAPI 3."""

    authentication_classes = views.authentication_classes()
    permission_classes = (MayViewTurns,)
    throttle_classes = (views.Throttle,)
    custom_settings = {
        "TITLE": "Traces of ChatKit on Django",
        "DESCRIPTION": "Turns as they were recorded; times are UTC.",
        "VERSION": "1",
        "PREPROCESSING_HOOKS": ["observability.api.schema.document_events"],
    }


def describe() -> None:
    """Say of views and serializers what can't be seen of them."""
    views.ReadView.schema = AutoSchema()
    views.TurnDetail.schema = TurnSchema()
    views.Metrics.schema = MetricsSchema()
    turn = serializers.TurnDetailSerializer
    extend_schema_field(serializers.MessageSerializer(many=True))(turn.get_messages)
    extend_schema_field(serializers.FactSerializer(many=True))(turn.get_facts)
    extend_schema_field(serializers.SpanSerializer(many=True))(turn.get_spans)


describe()
view = Schema.as_view(patterns=read_api(lambda name: getattr(views, name).as_view()))
