"""What the site falls back to where the environment says nothing."""

from __future__ import annotations

import os
from typing import Any

from django.core.checks import CheckMessage, Info, register
from django.utils.translation import gettext as _


@register("chatsite")
def check_defaults(**kwargs: Any) -> list[CheckMessage]:
    if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
        return []
    return [
        Info(
            _("DATABASE_URL is not set: everything is kept in an SQLite file under var/."),
            hint=_("Enough for one process. For more, set it to a PostgreSQL address."),
            id="chatsite.I001",
        )
    ]
