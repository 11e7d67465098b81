from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatKitEndpointConfig(AppConfig):
    name = "chatkit_endpoint"
    verbose_name = _("ChatKit")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, guests  # noqa: F401
