"""A stand-in for a collector of OpenTelemetry: OTLP over HTTP, read with the official classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from .anosys import Answer
from .posts import Post, PostStandin, serve

PROTOBUF = {"Content-Type": "application/x-protobuf"}


class OTLPStandin(PostStandin):
    usual = Answer(body=ExportTraceServiceResponse().SerializeToString(), headers=PROTOBUF)

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[ExportTraceServiceRequest] = []

    def received(self, post: Post) -> Answer:
        answer = super().received(post)
        if post.path != "/v1/traces":
            return Answer(status=404)
        if post.headers.get("content-type") != PROTOBUF["Content-Type"]:
            return Answer(status=415)
        request = ExportTraceServiceRequest()
        try:
            request.ParseFromString(post.body)
        except DecodeError:
            return Answer(status=400)
        self.requests.append(request)
        return answer

    @property
    def resource_spans(self) -> ResourceSpans:
        """Of the only request, which has one resource."""
        [request] = self.requests
        [resource_spans] = request.resource_spans
        return resource_spans

    @property
    def spans(self) -> list[Span]:
        [scope_spans] = self.resource_spans.scope_spans
        return list(scope_spans.spans)


def partial_success(rejected: int, message: str = "") -> Answer:
    """The answer of a collector that did not take so many spans."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    response = ExportTraceServiceResponse(partial_success=partial)
    return Answer(body=response.SerializeToString(), headers=PROTOBUF)


def attributes(of: Any) -> dict[str, Any]:
    """Of a span or a resource, with the type of each value as it came."""
    pairs: list[KeyValue] = list(of.attributes)
    names = [pair.key for pair in pairs]
    assert len(names) == len(set(names)), "OTLP wants each name once."
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in pairs}


@contextmanager
def otlp_standin() -> Iterator[OTLPStandin]:
    """Serve for as long as the block runs."""
    standin = OTLPStandin()
    with serve(standin):
        yield standin
