from __future__ import annotations

from django.urls import include, path

from . import hosted, telemetry, uploads, views

urlpatterns = [
    path("chatkit", views.chatkit, name="chatkit"),
    # The same with a slash: a redirect would lose the POST.
    path("chatkit/", views.chatkit),
    path("chatkit/session/", hosted.session, name="chatkit-session"),
    path("chatkit/attachments/", uploads.create, name="chatkit-attachments"),
    path("chatkit/attachments/<str:key>/", uploads.download, name="chatkit-attachment"),
    path("chatkit/attachments/<str:key>/upload", uploads.upload, name="chatkit-attachment-upload"),
    path(
        "chatkit/attachments/<str:key>/preview", uploads.preview, name="chatkit-attachment-preview"
    ),
    # Here, since who may report is who may chat; all else of that path is for the staff.
    path("observability/api/events/", telemetry.events, name="observability-events"),
    path("", include("observability.urls")),
]
