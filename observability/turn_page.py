"""What pages say of a turn, in words."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin import site
from django.contrib.admin.utils import quote
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext

from .admin_tools import list_link
from .display import UNKNOWN, Line, badge, milliseconds, number, shorten, time_tag, visible
from .metrics import brief
from .models import ClientEvent, EndpointRequest, Message, Turn, TurnFact

CLIENT_EVENTS_AT_MOST = 200


def user_name(turn: Turn) -> str:
    """The user or, for a guest and for a user who is gone, the owner."""
    return visible(turn.user.get_username() if turn.user else turn.owner_key) or UNKNOWN


def prompt_of(turn: Turn) -> str:
    """The beginning of the prompt, of a turn from :func:`metrics.brief`."""
    if prompt := shorten(turn.prompt_start):  # type: ignore[attr-defined]
        return prompt
    return gettext("(purged)") if turn.is_text_purged else gettext("(no text)")


def error_of(turn: Turn) -> str:
    """The error in one line, of a turn from :func:`metrics.brief`."""
    parts = (turn.error_code, turn.error_start)  # type: ignore[attr-defined]
    return shorten(": ".join(filter(None, parts))) or turn.get_status_display()


def conversation(turn: Turn) -> list[Line]:
    """The turn as a reader reads it. Until it has settled, there is only its prompt."""
    lines = [
        Line(
            kind=message.kind,
            label=_label(message.kind, turn),
            text=visible(message.text),
            created_at=message.created_at,
        )
        for message in turn.messages.all()
        if message.text
    ]
    if not lines and turn.prompt:
        prompt = Message.Kind.PROMPT
        lines.append(
            Line(
                kind=prompt,
                label=_label(prompt, turn),
                text=visible(turn.prompt),
                created_at=turn.started_at,
            )
        )
    return lines


def _label(kind: str, turn: Turn) -> str:
    return {
        Message.Kind.PROMPT.value: user_name(turn),
        Message.Kind.RESPONSE.value: gettext("Assistant"),
        Message.Kind.THOUGHT.value: gettext("Thought"),
    }[kind]


def figures(turn: Turn) -> list[tuple[str, str, str]]:
    """Each figure with its name and a remark."""
    cached, reasoning = turn.cached_tokens, turn.reasoning_tokens
    named = [
        (gettext("First progress"), milliseconds(turn.ttfp_ms), ""),
        (gettext("First token"), milliseconds(turn.ttft_ms), ""),
        (
            gettext("Duration"),
            milliseconds(turn.duration_ms),
            "" if turn.duration_ms is None else gettext("from the first token"),
        ),
        (gettext("Total"), milliseconds(turn.total_ms), ""),
        (
            gettext("Tokens in"),
            number(turn.input_tokens),
            gettext("%(count)s cached") % {"count": number(cached)} if cached else "",
        ),
        (
            gettext("Tokens out"),
            number(turn.output_tokens),
            gettext("%(count)s for thinking") % {"count": number(reasoning)} if reasoning else "",
        ),
        (
            gettext("Cost"),
            UNKNOWN if turn.cost_usd is None else f"${number(float(turn.cost_usd), 4)}",
            "",
        ),
    ]
    if turn.client_ttft_ms is not None or turn.client_duration_ms is not None:
        named += [
            (
                gettext("First token"),
                milliseconds(turn.client_ttft_ms),
                gettext("in the browser"),
            ),
            (
                gettext("Duration"),
                milliseconds(turn.client_duration_ms),
                gettext("in the browser"),
            ),
        ]
    return named


def facts(turn: Turn) -> list[tuple[str, str]]:
    """Who, where and by what: names and values, linked to the turns that share them."""
    named = [
        (gettext("user"), _turns_link("user", turn.user_id, user_name(turn)) if turn.user else ""),
        (gettext("owner"), page_link("owner", turn.owner_key)),
        (gettext("tenant"), visible(turn.tenant)),
        (gettext("thread"), page_link("thread", turn.thread_id)),
        (gettext("session"), page_link("session", turn.session_id)),
        (gettext("request"), _turns_link("request_id", turn.request_id)),
        (gettext("trace"), _turns_link("trace_id", turn.trace_id)),
        (gettext("operation"), visible(turn.operation)),
        (gettext("model"), visible(turn.model)),
        (gettext("locale"), visible(turn.locale)),
        (gettext("feedback"), turn.get_feedback_display() if turn.feedback else ""),
        (gettext("started at"), time_tag(turn.started_at)),
        (gettext("ended at"), time_tag(turn.ended_at) if turn.ended_at else ""),
    ]
    return [(capfirst(name), value) for name, value in named if value]


def request_line(turn: Turn, *, may_view_requests: bool) -> dict[str, str]:
    """What the visitor's browser was answered, and the way to what else it asked.

    Requests are kept for days only, and written a moment after the turn: without one, no answer.
    """
    if not may_view_requests:
        return {}
    answer = turn.request_id and (
        EndpointRequest.objects.filter(request_id=turn.request_id, trace_id=turn.trace_id)
        .order_by("pk")
        .values_list("status", "total_ms")
        .first()
    )
    told = gettext("HTTP %(status)s in %(time)s")
    return {
        "answer": told % {"status": answer[0], "time": milliseconds(answer[1])} if answer else "",
        "session": list_link(
            "admin:observability_endpointrequest_changelist",
            "session_id",
            turn.session_id,
            gettext("Requests of this session"),
        ),
    }


def site_facts(request: HttpRequest, turn: Turn) -> list[tuple[str, str]]:
    """What the site told of it: keys and values, linked to the turns that share them.

    An object leads to its own page, for who may view it there.
    """
    shown = []
    for fact in turn.facts.order_by("pk"):
        key = _turns_link("fact", fact.key)
        same = f"{fact.key}:{fact.object_id or fact.value}"
        value = visible(fact.value) or UNKNOWN
        if url := _object_url(request, fact):
            value = format_html(
                '<a href="{}"><bdi>{}</bdi></a> <small>{}</small>',
                url,
                value,
                _turns_link("fact", same, gettext("its turns")),
            )
        else:
            value = _turns_link("fact", same, value)
        shown.append((key, value))
    return shown


def _object_url(request: HttpRequest, fact: TurnFact) -> str:
    """Where the object is in the admin; empty for a plain value, and for what is not to be seen."""
    if not fact.object_id:
        return ""
    try:
        model = apps.get_model(fact.object_model)
    except (LookupError, ValueError):
        return ""  # It was the site's once.
    if not site.is_registered(model):
        return ""
    if not site.get_model_admin(model).has_view_or_change_permission(request):
        return ""
    view = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    return reverse(view, args=(quote(fact.object_id),))


def neighbours(turn: Turn, *, shows_content: bool) -> dict[str, tuple[int, str] | None]:
    """The turns before and after in the same thread: their keys, and their prompts or names."""
    if not turn.thread_id:
        return {}
    thread = brief(Turn.objects.of_thread(turn))
    before = Q(started_at__lt=turn.started_at) | Q(started_at=turn.started_at, pk__lt=turn.pk)
    after = Q(started_at__gt=turn.started_at) | Q(started_at=turn.started_at, pk__gt=turn.pk)
    return {
        name: (other.pk, prompt_of(other) if shows_content else str(other)) if other else None
        for name, other in (
            ("before", thread.filter(before).last()),
            ("after", thread.filter(after).first()),
        )
    }


def deliveries(turn: Turn) -> list[dict[str, Any]]:
    """How each collector got it."""
    return [
        {
            "pk": delivery.pk,
            "destination": delivery.destination,
            "badge": badge(delivery.state, delivery.get_state_display()),
            "attempts": delivery.attempts,
            "settled": time_tag(delivery.settled_at) if delivery.settled_at else "",
            "error": visible(delivery.last_error),
        }
        for delivery in turn.deliveries.order_by("pk")
    ]


def client_events(turn: Turn) -> list[dict[str, Any]]:
    """What the browser told of it, in the order of its clock."""
    return [
        {
            "pk": event.pk,
            "name": event.get_name_display(),
            "time": since(turn, event),
            "data": data_of(event),
            "dropped": visible(", ".join(event.dropped)),
        }
        for event in turn.client_events.order_by("occurred_at", "pk")[:CLIENT_EVENTS_AT_MOST]
    ]


def ratings(turn: Turn) -> list[dict[str, str]]:
    """What the visitor thinks of the turn's items, and thought at first."""
    return [
        {
            "badge": badge(rating.kind, rating.get_kind_display()),
            "first": rating.get_first_kind_display() if rating.has_changed_mind else "",
            "time": time_tag(rating.updated_at),
            "item": visible(rating.item_id),
        }
        for rating in turn.ratings.order_by("pk")
    ]


def since(turn: Turn, event: ClientEvent) -> str:
    """When the browser's clock had it, from the turn's start on."""
    ms = (event.occurred_at - turn.started_at).total_seconds() * 1000
    return f"{'+' if ms >= 0 else '-'}{milliseconds(abs(ms))}"


def data_of(event: ClientEvent) -> str:
    """What came with it, in one line."""
    return visible(", ".join(f"{name}: {value}" for name, value in sorted(event.data.items())))


def page_link(page: str, value: str, label: str | None = None) -> str:
    """A link to all that a thread, a session or an owner has; nothing for no value."""
    # A slash would not come back from the address as it was.
    if not value or "/" in value:
        return visible(value)
    url = reverse(f"admin:observability_turn_{page}", args=(value,))
    return format_html(
        '<a href="{}"><bdi>{}</bdi></a>', url, visible(value) if label is None else label
    )


def _turns_link(parameter: str, value: int | str | None, label: str | None = None) -> str:
    return list_link("admin:observability_turn_changelist", parameter, value, label)
