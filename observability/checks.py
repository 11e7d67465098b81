"""Bad or missing settings, said before they hurt."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections

from .conf import conf


@register("observability")
def check_forwarding(**kwargs: Any) -> list[CheckMessage]:
    settings = conf()
    messages: list[CheckMessage] = []
    if not settings.anosys_api_key and not settings.anosys_ingestion_url:
        messages.append(
            Info(
                "ANOSYS_API_KEY is not set: turns are recorded here and forwarded to nobody.",
                hint="Set it to the key of an Anosys pixel of the type Agentic AI.",
                id="observability.I001",
            )
        )
    for name in ("anosys_resolver_url", "anosys_ingestion_url"):
        url = urlsplit(getattr(settings, name))
        if not url.geturl():
            continue
        local = url.hostname in {"127.0.0.1", "localhost", "::1"}
        if url.scheme not in {"https", "http"} or (url.scheme == "http" and not local):
            # Without the value: the ingestion URL is a credential.
            messages.append(
                Error(
                    f"{name.upper()} is not an https address.",
                    hint="Conversations go there: only https, or http to this very machine.",
                    id="observability.E001",
                )
            )
    return messages


@register(Tags.database)
def check_database(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """SQLite must begin its transactions IMMEDIATE, or workers fail with "database is locked"."""
    return [
        Warning(
            f"The database {alias!r} is SQLite without immediate transactions.",
            hint='Set OPTIONS["transaction_mode"] = "IMMEDIATE" for it in DATABASES.',
            id="observability.W001",
        )
        for alias in databases or ()
        if connections[alias].vendor == "sqlite"
        and connections[alias].settings_dict["OPTIONS"].get("transaction_mode") != "IMMEDIATE"
    ]
