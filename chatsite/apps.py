from __future__ import annotations

from django.apps import AppConfig


class ChatSiteConfig(AppConfig):
    name = "chatsite"

    def ready(self) -> None:
        from . import checks  # noqa: F401
