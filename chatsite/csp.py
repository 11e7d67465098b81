"""What the site's pages may load, and from where: nothing inline, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

# The chat takes dictation; nothing here needs the rest.
PERMISSIONS_POLICY = "camera=(), display-capture=(), geolocation=(), payment=(), usb=()"

SELF, NONE = "'self'", "'none'"


def policy(script_url: str | None) -> dict[str, list[str]]:
    """The directives. ``script_url``: OpenAI's element, where pages load that one."""
    directives = {
        "default-src": [SELF],
        "base-uri": [NONE],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "frame-src": [NONE],
        # Images that a model made come as data, previews of what is not yet sent as blobs.
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
    }
    if script_url is not None:
        parts = urlsplit(script_url)
        host = f"{parts.scheme}://{parts.netloc}"
        directives["script-src"] = [SELF, host]
        directives["frame-src"] = [host]
    return directives


@sync_and_async_middleware
def permissions_policy_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Answer with a Permissions-Policy, which Django has no setting for."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
            return response

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)  # type: ignore[assignment]
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return middleware
