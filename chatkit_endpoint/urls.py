from __future__ import annotations

from django.urls import include, path

from . import hosted, my_data, telemetry, uploads, views

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
    path("chatkit/my-data/", my_data.my_data, name="chatkit-my-data"),
    path("chatkit/my-data/download/", my_data.download, name="chatkit-my-data-download"),
    path("chatkit/my-data/erase/", my_data.erase_all, name="chatkit-my-data-erase-all"),
    path(
        "chatkit/my-data/threads/<str:key>/erase/",
        my_data.erase_thread,
        name="chatkit-my-data-erase",
    ),
    # Here, since who may report is who may chat; all else of that path is for the staff.
    path("observability/api/events/", telemetry.events, name="observability-events"),
    path("", include("observability.urls")),
]
