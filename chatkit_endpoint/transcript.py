"""A thread's items as the lines of a conversation.

The payloads are ChatKit's JSON, read here as plain JSON: what an item of a kind or a shape that we
don't know holds is shown as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _

from observability.display import Line, visible

from .models import ThreadItem

END_OF_TURN = "end_of_turn"
"""A marker with nothing to read."""


def transcript(items: Iterable[ThreadItem], visitor: str) -> list[Line]:
    """The lines of these items, in order; ``visitor`` is what to call who wrote the prompts."""
    return [_line(item, visitor) for item in items if item.type != END_OF_TURN]


def _line(item: ThreadItem, visitor: str) -> Line:
    try:
        payload = json.loads(item.payload)
        known = _known_line(item, payload, visitor)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _box(item, item.type, data=visible(item.payload))
    return known or _box(item, item.type, data=_pretty(payload))


def _known_line(item: ThreadItem, payload: dict[str, Any], visitor: str) -> Line | None:
    match item.type:
        case "user_message":
            return Line(
                kind="prompt",
                label=visitor,
                text=visible("".join(map(_user_part, payload["content"]))),
                created_at=item.created_at,
                notes=tuple(_user_notes(payload)),
            )
        case "assistant_message":
            return Line(
                kind="response",
                label=_("Assistant"),
                text=visible("".join(part["text"] for part in payload["content"])),
                created_at=item.created_at,
                notes=tuple(_sources(payload)),
            )
        case "workflow":
            return _thought(item, payload["workflow"]["tasks"])
        case "task":
            return _thought(item, [payload["task"]])
        case "client_tool_call":
            label = _("Tool call: %(name)s") % {"name": payload["name"]}
            called = {"arguments": payload["arguments"], "output": payload.get("output")}
            return _box(item, label, text=payload["status"], data=_pretty(called))
        case "widget":
            text = payload.get("copy_text") or ""
            return _box(item, _("Widget"), text=text, data=_pretty(payload["widget"]))
        case "generated_image":
            return _box(item, _("Generated image"), data=_pretty(payload.get("image")))
        case "structured_input":
            asked = "\n".join(map(_question, payload["inputs"]))
            return _box(item, _("Question"), text=asked, data=_pretty(payload["inputs"]))
        case "hidden_context_item" | "sdk_hidden_context":
            label = _("Context that only the model sees")
            return _box(item, label, data=_pretty(payload["content"]))
    return None


def _box(item: ThreadItem, label: str, *, text: str = "", data: str = "") -> Line:
    return Line(
        kind="box",
        label=visible(label),
        text=visible(text),
        created_at=item.created_at,
        data=data,
    )


def _thought(item: ThreadItem, tasks: list[dict[str, Any]]) -> Line:
    return Line(
        kind="thought",
        label=_("Thought"),
        text=visible("\n\n".join(filter(None, map(_task, tasks)))),
        created_at=item.created_at,
    )


def _task(task: dict[str, Any]) -> str:
    parts = (task.get("title"), task.get("content"), *task.get("queries", ()))
    return "\n".join(filter(None, parts))


def _user_part(part: dict[str, Any]) -> str:
    text: str = part["text"]
    return f"@{text}" if part["type"] == "input_tag" else text


def _user_notes(payload: dict[str, Any]) -> Iterable[str]:
    if quoted := payload.get("quoted_text"):
        yield _("Quoted: %(text)s") % {"text": visible(quoted)}
    for attachment in payload.get("attachments", ()):
        yield _("Attached: %(name)s") % {"name": visible(attachment["name"])}


def _sources(payload: dict[str, Any]) -> Iterable[str]:
    for part in payload["content"]:
        for annotation in part.get("annotations", ()):
            yield _("Source: %(title)s") % {"title": visible(annotation["source"]["title"])}


def _question(asked: dict[str, Any]) -> str:
    answer = asked.get("answer") or {}
    values = ", ".join(answer.get("values", ()))
    return f"{asked['question']} {values}".rstrip()


def _pretty(data: Any) -> str:
    return visible(json.dumps(data, indent=2, ensure_ascii=False))
