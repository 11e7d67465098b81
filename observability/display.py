"""How figures, times and texts are written for an operator; the markup is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from django.utils import dateformat, formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

UNKNOWN = "—"
"""What stands where nothing is known: an unknown figure is not 0."""

# Controls but tab and newline; what turns the direction of the text around it; lone surrogates,
# which no page can be encoded with; tags, which hide words from people but not from a model.
_DECEPTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0001-\U000e007f]"
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a conversation, as ``observability/conversation.html`` shows it."""

    kind: str
    """``prompt`` and ``response`` are bubbles, ``thought`` is folded, ``box`` is all the rest."""
    label: str
    text: str = ""
    created_at: datetime | None = None
    notes: tuple[str, ...] = ()
    """Short remarks under the text, such as the names of attachments."""
    data: str = ""
    """What the line was made of, to be unfolded."""


def visible(text: str) -> str:
    """The text with characters that deceive its reader written as their code points."""
    return _DECEPTIVE.sub(lambda match: f"[U+{ord(match[0]):04X}]", text.replace("\r\n", "\n"))


def shorten(text: str, length: int = 80) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(visible(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def number(value: float | None, decimals: int = 0) -> str:
    if value is None:
        return UNKNOWN
    # Rounded here, for Django only cuts off.
    return formats.number_format(round(value, decimals), decimals, force_grouping=True)


def percent(share: float | None) -> str:
    """A share of 1."""
    return UNKNOWN if share is None else _("%(number)s%%") % {"number": number(share * 100, 1)}


def milliseconds(value: float | None) -> str:
    """A time span in the unit that reads best."""
    if value is None:
        return UNKNOWN
    if value < 1000:
        return _("%(number)s ms") % {"number": number(value)}
    if value < 60_000:
        return _("%(number)s s") % {"number": number(value / 1000, 2 if value < 10_000 else 1)}
    minutes, seconds = divmod(round(value / 1000), 60)
    return _("%(minutes)s min %(seconds)s s") % {"minutes": number(minutes), "seconds": seconds}


def age(moment: datetime, now: datetime) -> str:
    """How long ago a moment was."""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 60:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    return timesince(moment, now, depth=1)


def date_and_time(moment: datetime) -> str:
    """To the second, in the current time zone: what an operator compares with a log."""
    local = timezone.localtime(moment)
    return _("%(date)s, %(time)s") % {
        "date": formats.date_format(local, "DATE_FORMAT"),
        "time": dateformat.time_format(local, "H:i:s"),
    }


def time_tag(moment: datetime | None) -> str:
    if moment is None:
        return UNKNOWN
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), date_and_time(moment))


def badge(value: str, label: str) -> SafeString:
    """A state as a coloured word; the colour belongs to the value, in ``admin.css``."""
    return format_html('<span class="obs-badge obs-is-{}">{}</span>', value, label)
