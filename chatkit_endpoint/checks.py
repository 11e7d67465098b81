"""Bad or missing settings, said before they hurt."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from .conf import conf
from .limits import Rate
from .options import OptionError, chatkit_options

MAX_HISTORY_ITEMS = 100


@register("chatkit")
def check_chat(**kwargs: Any) -> list[CheckMessage]:
    settings = conf()
    messages: list[CheckMessage] = []
    if not settings.openai_api_key:
        messages.append(
            Info(
                _("OPENAI_API_KEY is not set: the demo model answers."),
                hint=_(
                    "Set it to a key of OpenAI or, with OPENAI_BASE_URL, of a compatible server."
                ),
                id="chatkit_endpoint.I001",
            )
        )
    if not settings.chatkit_domain_key and not settings.chatkit_client:
        messages.append(
            Info(
                _("CHATKIT_DOMAIN_KEY is not set: pages load the built-in chat element."),
                hint=_(
                    "Register your host in OpenAI's domain allowlist for a key, or set "
                    "CHATKIT_CLIENT=builtin to say that this is meant."
                ),
                id="chatkit_endpoint.I002",
            )
        )
    if settings.chatkit_client not in {"", "builtin", "openai", "auto"}:
        messages.append(
            Error(
                _("CHATKIT_CLIENT is none of builtin, openai and auto."),
                hint=_("Leave it unset to have the domain key decide."),
                id="chatkit_endpoint.E001",
            )
        )
    if settings.client == "openai" and not settings.chatkit_domain_key:
        messages.append(
            Error(
                _("CHATKIT_CLIENT=openai needs a CHATKIT_DOMAIN_KEY."),
                hint=_("OpenAI's element refuses to load without it."),
                id="chatkit_endpoint.E002",
            )
        )
    if not 1 <= settings.chatkit_history_items <= MAX_HISTORY_ITEMS:
        messages.append(
            Error(
                _("CHATKIT_HISTORY_ITEMS must be from 1 to %(limit)d.")
                % {"limit": MAX_HISTORY_ITEMS},
                id="chatkit_endpoint.E003",
            )
        )
    return messages


@register("chatkit")
def check_time_zone(**kwargs: Any) -> list[CheckMessage]:
    if django_settings.TIME_ZONE == "UTC":
        return []
    return [
        Warning(
            _("TIME_ZONE is not UTC: times that ChatKit shows are off by the difference."),
            hint=_(
                "The SDK stamps items with local time and no zone. Set TIME_ZONE = 'UTC' and "
                "show other zones with timezone.activate()."
            ),
            id="chatkit_endpoint.W001",
        )
    ]


@register("chatkit")
def check_turn_context(**kwargs: Any) -> list[CheckMessage]:
    path = conf().chatkit_turn_context
    if not path:
        return []
    try:
        is_function = callable(import_string(path))
    except ImportError:
        is_function = False
    if is_function:
        return []
    return [
        Error(
            _("CHATKIT_TURN_CONTEXT names no function that can be imported: %(path)s")
            % {"path": path},
            hint=_("Set it to the dotted path of a function (RequestContext) -> dict."),
            id="chatkit_endpoint.E009",
        )
    ]


@register("chatkit")
def check_options(**kwargs: Any) -> list[CheckMessage]:
    try:
        chatkit_options(conf().chatkit_options)
    except OptionError as error:
        return [Error(f"CHATKIT_OPTIONS: {error}", id="chatkit_endpoint.E007")]
    return []


@register("chatkit")
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    settings = conf()
    messages: list[CheckMessage] = []
    for name in ("CHATKIT_RATE_LIMIT", "CHATKIT_ADDRESS_RATE_LIMIT"):
        try:
            Rate.parse(getattr(settings, name.lower()))
        except ImproperlyConfigured as error:
            messages.append(Error(f"{name}: {error}", id="chatkit_endpoint.E004"))
    if settings.chatkit_max_streams < 1:
        messages.append(
            Error(_("CHATKIT_MAX_STREAMS must be 1 or more."), id="chatkit_endpoint.E005")
        )
    if settings.chatkit_trusted_proxies < 0:
        messages.append(
            Error(_("CHATKIT_TRUSTED_PROXIES must be 0 or more."), id="chatkit_endpoint.E006")
        )
    django_limit = cast("int | None", django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    if django_limit is not None and django_limit < settings.chatkit_max_body_bytes:
        messages.append(
            Warning(
                _("DATA_UPLOAD_MAX_MEMORY_SIZE is below CHATKIT_MAX_BODY_BYTES, and prevails."),
                hint=_("Raise the one or lower the other."),
                id="chatkit_endpoint.W002",
            )
        )
    return messages


@register("chatkit", deploy=True)
def check_deployed_limits(**kwargs: Any) -> list[CheckMessage]:
    settings = conf()
    return [
        Warning(
            _("%(name)s is empty: nothing limits what one visitor may ask of the model.")
            % {"name": name},
            hint=_("Set it to a rate such as 60/m, unless something else before the site does it."),
            id="chatkit_endpoint.W003",
        )
        for name in ("CHATKIT_RATE_LIMIT", "CHATKIT_ADDRESS_RATE_LIMIT")
        if not getattr(settings, name.lower())
    ]
