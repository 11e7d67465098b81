from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("chatkit", views.chatkit, name="chatkit"),
    # The same with a slash: a redirect would lose the POST.
    path("chatkit/", views.chatkit),
]
