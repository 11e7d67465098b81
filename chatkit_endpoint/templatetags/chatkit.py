"""``{% load chatkit %}{% chatkit %}``: a chat, on any page of a Django site."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, TemplateSyntaxError

from chatkit_endpoint.embedding import page_context
from chatkit_endpoint.options import OptionError

register = template.Library()


@register.inclusion_tag("chatkit_endpoint/chatkit.html", takes_context=True)
def chatkit(context: Context, **arguments: Any) -> dict[str, Any]:
    """Render the chat and its scripts, none of them inline.

    Takes ChatKitOptions as ``chatkit_endpoint.options`` spells them (``theme``, ``locale``,
    ``greeting``, ``prompts``, ``thread``, …), which CHATKIT_OPTIONS sets for the whole site, and:

    * ``height``: a number of pixels or a CSS length; "36rem" by default.
    * ``autofocus``: whether the composer takes the focus when the page opens.
    * ``id``: the element's id; a page with several chats gives each its own.

    The language is that of the page and the thread the one that this tab had open, unless an
    option says otherwise. Raises TemplateSyntaxError for an argument that it doesn't know or
    can't use.
    """
    return _context("chatkit", context, arguments, height="36rem")


@register.inclusion_tag("chatkit_endpoint/popup.html", takes_context=True)
def chatkit_popup(context: Context, **arguments: Any) -> dict[str, Any]:
    """Render a floating button that opens the chat, which is loaded when it first does.

    Takes what ``{% chatkit %}`` takes; ``height`` is that of the panel, on phones all there is.
    """
    return _context("chatkit_popup", context, arguments, height="40rem")


def _context(
    tag: str, context: Context, arguments: dict[str, Any], *, height: str
) -> dict[str, Any]:
    request = getattr(context, "request", None)
    if request is None:
        raise ImproperlyConfigured(f"{{% {tag} %}} needs the request: use render(request, …).")
    try:
        return page_context(request, arguments, height=height)
    except OptionError as error:
        raise TemplateSyntaxError(f"{{% {tag} %}}: {error}") from error
