"""The built-in element's words."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

_LABELS = {
    "again": _("Answer again"),
    "assistant": _("Assistant"),
    "attach": _("Attach files"),
    "bad": _("Bad answer"),
    "cancel": _("Cancel"),
    "close": _("Close"),
    "closed": _("This conversation is closed."),
    "compose": _("Message"),
    "conversation": _("Conversation"),
    "copied": _("Copied"),
    "copy": _("Copy"),
    "delete": _("Delete"),
    "deleteAsk": _("Delete this conversation?"),
    "expired": _("Your login has expired. Sign in again, then come back and try again."),
    "failed": _("Something went wrong."),
    "fileCount": _("At most {count} files go with a message."),
    "fileSize": _("“{name}” is too large: {limit} at most."),
    "fileType": _("“{name}” is of a type that can’t be sent."),
    "files": _("Attached files"),
    "good": _("Good answer"),
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
    "other": _("Something else"),
    "placeholder": _("Write a message"),
    "prompts": _("Suggestions"),
    "remove": _("Remove “{name}”"),
    "rename": _("Rename"),
    "retry": _("Try again"),
    "save": _("Save"),
    "send": _("Send"),
    "signIn": _("Sign in (new tab)"),
    "skip": _("Skip"),
    "skipped": _("Skipped"),
    "sources": _("Sources"),
    "steps": _("Steps"),
    "stop": _("Stop"),
    "stopped": _("You stopped this answer."),
    "submit": _("Submit"),
    "thinking": _("Thinking…"),
    "thought": _("Thoughts"),
    "thoughtFor": _("Thought for {duration}"),
    "unsent": _("Not sent"),
    "untitled": _("Untitled conversation"),
    "working": _("Working…"),
    "you": _("You"),
}
"""What stands in braces is filled in by the browser, which knows a number's plural."""


def labels() -> dict[str, str]:
    """The words in the active language, as the element takes them."""
    return {name: str(label) for name, label in _LABELS.items()}
