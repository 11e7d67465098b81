"""Django on a database that is named on the command line."""

from __future__ import annotations

import os


def set_up(database: str) -> None:
    """Set Django up, as in production, on this DATABASE_URL. Once per process, before any model."""
    os.environ["DATABASE_URL"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "chatsite.settings"
    # Neither a secret key nor TLS is needed here.
    os.environ["DJANGO_DEBUG"] = "1"
    import django
    from django.conf import settings

    django.setup()
    # Otherwise every query is kept.
    settings.DEBUG = False
