from __future__ import annotations

from django.urls import path

from . import prometheus
from .api import views

read_api = [
    path("observability/api/turns/", views.TurnList.as_view(), name="observability-turns"),
    path(
        "observability/api/turns/<str:id>/", views.TurnDetail.as_view(), name="observability-turn"
    ),
    path(
        "observability/api/threads/<str:thread_id>/",
        views.ThreadDetail.as_view(),
        name="observability-thread",
    ),
    path(
        "observability/api/sessions/<str:session_id>/",
        views.SessionDetail.as_view(),
        name="observability-session",
    ),
    path("observability/api/metrics/", views.Metrics.as_view(), name="observability-metrics"),
]

urlpatterns = [
    *read_api,
    path("metrics", prometheus.metrics, name="observability-prometheus-metrics"),
    path("observability/api/schema/", views.schema, name="observability-schema"),
]
