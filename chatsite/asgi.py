"""The ASGI application: what uvicorn serves."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

from chatkit_endpoint.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatsite.settings")


def with_static_files(application: Any) -> Any:
    """Serve static files before Django: the collected ones, in development the apps' own."""
    if settings.DEBUG:
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        return ASGIStaticFilesHandler(application)
    from servestatic import ServeStaticASGI

    return ServeStaticASGI(application, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)


application = with_static_files(
    get_asgi_application(max_body_bytes=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
)
