"""Logs as in production, on a site without TLS."""

from __future__ import annotations

from chatsite import settings
from chatsite.settings import *  # noqa: F403

settings.LOGGING["handlers"]["console"]["formatter"] = "json"  # type: ignore[index]
