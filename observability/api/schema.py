"""The one endpoint of the API that is no view of this app, described for the schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework.authentication import SessionAuthentication
from rest_framework.parsers import JSONParser
from rest_framework.views import APIView

from .serializers import BatchSerializer, FiguresSerializer, RangeSerializer, RecordedSerializer

EVENTS_PATH = "/observability/api/events/"


# Subclasses and no decorators: those count on DEFAULT_SCHEMA_CLASS, which is the site's to choose.
class EventsSchema(AutoSchema):
    def get_request_serializer(self) -> Any:
        return BatchSerializer

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
