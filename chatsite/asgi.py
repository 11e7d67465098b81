"""The ASGI application: what uvicorn serves."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")
django_application: Any = get_asgi_application()

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from servestatic import ServeStaticASGI

from chatkit_endpoint.body_limit import with_body_limit
from chatkit_endpoint.lifespan import with_lifespan


def with_static_files(application: Any) -> Any:
    """Serve static files before Django: the collected ones, in development the apps' own."""
    if settings.DEBUG:
        return ASGIStaticFilesHandler(application)
    return ServeStaticASGI(application, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)


application = with_lifespan(
    with_static_files(
        with_body_limit(django_application, default=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    )
)
