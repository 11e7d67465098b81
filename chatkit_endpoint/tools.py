"""The sample tool: small, real, and without a network."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents import RunContextWrapper, function_tool
from chatkit.agents import AgentContext
from chatkit.types import ProgressUpdateEvent
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from .context import RequestContext


@function_tool
async def current_time(
    wrapper: RunContextWrapper[AgentContext[RequestContext]], time_zone: str = "UTC"
) -> str:
    """Tell the date and the time of day.

    Args:
        time_zone: An IANA name such as Europe/Berlin.
    """
    await wrapper.context.stream(ProgressUpdateEvent(icon="clock", text=_("Looking at the clock…")))
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return _("There is no time zone of that name. Ask for one such as Europe/Berlin.")
    now = timezone.localtime(timezone.now(), zone)
    return f"{date_format(now, 'DATETIME_FORMAT')} ({zone.key})"
