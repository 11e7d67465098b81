"""The built-in element's words."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

_LABELS = {
    "assistant": _("Assistant"),
    "close": _("Close"),
    "closed": _("This conversation is closed."),
    "compose": _("Message"),
    "conversation": _("Conversation"),
    "copied": _("Copied"),
    "copy": _("Copy"),
    "expired": _("Your login has expired. Sign in again, then come back and try again."),
    "failed": _("Something went wrong."),
    "greeting": _("What can I help with today?"),
    "history": _("Earlier conversations"),
    "image": _("Generated image"),
    "interrupted": _("The connection was lost before the answer was complete."),
    "latest": _("Jump to the end"),
    "loading": _("Loading…"),
    "more": _("Show more"),
    "newThread": _("New conversation"),
    "noThreads": _("No conversations yet."),
    "offline": _("The server can’t be reached. Check your connection and try again."),
    "placeholder": _("Write a message"),
    "prompts": _("Suggestions"),
    "retry": _("Try again"),
    "send": _("Send"),
    "signIn": _("Sign in (new tab)"),
    "sources": _("Sources"),
    "steps": _("Steps"),
    "stop": _("Stop"),
    "stopped": _("You stopped this answer."),
    "thinking": _("Thinking…"),
    "thought": _("Thoughts"),
    "thoughtFor": _("Thought for {duration}"),
    "unsent": _("Not sent"),
    "untitled": _("Untitled conversation"),
    "working": _("Working…"),
    "you": _("You"),
}
"""``{duration}`` is filled in by the browser, which knows its plural."""


def labels() -> dict[str, str]:
    """The words in the active language, as the element takes them."""
    return {name: str(label) for name, label in _LABELS.items()}
