"""What pages say of holds, and the form that places one. See ``observability/hold.html``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .display import UNKNOWN, time_tag, visible
from .models import ID_LENGTH, Hold, Turn


class HoldForm(forms.Form):
    """Why something is to be kept: what people fill in. What, is in the form's address: a turn, or
    a thread and whose it is.
    """

    reason = forms.CharField(
        label=_("Reason"),
        max_length=200,
        widget=forms.Textarea(attrs={"cols": 30, "rows": 2}),
        help_text=_("Operators read it, the visitor does not."),
        error_messages={"required": _("Say why it is to be kept.")},
    )

    turn = forms.ModelChoiceField(Turn.objects.all(), required=False)
    tenant = forms.CharField(required=False, strip=False, max_length=ID_LENGTH)
    owner_key = forms.CharField(required=False, strip=False, max_length=ID_LENGTH)
    thread_id = forms.CharField(required=False, strip=False, max_length=ID_LENGTH)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if (cleaned.get("turn") is None) == (not cleaned.get("thread_id")):
            raise forms.ValidationError(_("There is nothing here to put on hold."))
        return cleaned


def may_place(request: HttpRequest) -> bool:
    return request.user.has_perm("observability.add_hold")


def may_release(request: HttpRequest) -> bool:
    return request.user.has_perm("observability.delete_hold")


def holds_of_turn(request: HttpRequest, turn: Turn) -> dict[str, Any]:
    """What spares this turn, itself or with its thread, and how to change it. One query."""
    of_thread = Q(turn=None, tenant=turn.tenant, owner_key=turn.owner_key, thread_id=turn.thread_id)
    holds = list(Hold.objects.filter(Q(turn=turn) | of_thread).select_related("placed_by"))
    is_held = any(hold.turn_id is not None for hold in holds)
    return _shown(request, holds, None if is_held else {"turn": turn.pk})


def holds_of_thread(
    request: HttpRequest, *, tenant: str, owner_key: str, thread_id: str
) -> dict[str, Any]:
    """The same of a thread."""
    thread = {"tenant": tenant, "owner_key": owner_key, "thread_id": thread_id}
    holds = list(Hold.objects.filter(turn=None, **thread).select_related("placed_by"))
    return _shown(request, holds, None if holds else thread)


def _shown(
    request: HttpRequest, holds: list[Hold], placeable: dict[str, Any] | None
) -> dict[str, Any]:
    may_read = request.user.has_perm("observability.view_hold")
    return {
        "holds": [
            {
                "what": gettext("This turn is on hold.")
                if hold.turn_id is not None
                else gettext("This thread is on hold."),
                # It may tell of the conversation.
                "reason": visible(hold.reason) if may_read else "",
                "by": visible(hold.placed_by.get_username()) if hold.placed_by else UNKNOWN,
                "time": time_tag(hold.placed_at),
                "release_url": reverse("admin:observability_hold_release", args=(hold.pk,))
                if may_release(request)
                else "",
            }
            for hold in holds
        ],
        "reason": HoldForm(auto_id="hold_%s")["reason"],
        "place_url": reverse("admin:observability_hold_place", query=placeable)
        if placeable is not None and may_place(request)
        else "",
        "next": request.get_full_path(),
    }
