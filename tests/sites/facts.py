"""CHATKIT_TURN_CONTEXT: what a shop knows of who asks, for its operators to see beside the turn."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group

from chatkit_endpoint.context import RequestContext


def facts_of(context: RequestContext) -> dict[str, Any]:
    """Runs in a database thread before the turn begins: it may query, and should be quick."""
    if context.user is None:
        return {"plan": "guest"}
    team = Group.objects.filter(user=context.user.pk).order_by("name").first()
    return {"plan": "gold" if team else "free", "account": context.user, "team": team}
