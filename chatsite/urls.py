from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from . import views
from .sign_in import SignIn

urlpatterns = [
    path("", views.chat, name="chat"),
    path("", include("chatkit_endpoint.urls")),
    path("accounts/login/", SignIn.as_view(), name="login"),
    path("accounts/", include("django.contrib.auth.urls")),
    # One door: the admin's own would let a password be guessed without a limit.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
