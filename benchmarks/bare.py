"""The SDK by itself, as its samples serve it: Starlette, one route, conversations in memory.

The base of our comparisons, and a strict one: no users, nothing kept, no access log, no tracing.
"""

from __future__ import annotations

from typing import Any, TypeVar

from agents import set_tracing_disabled
from chatkit.server import ChatKitServer, StreamingResult
from chatkit.store import NotFoundError, Store
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from .answers import Deltas, Scripted, Short

T = TypeVar("T", ThreadMetadata, ThreadItem)

set_tracing_disabled(True)


class MemoryStore(Store[Any]):
    """Conversations in dictionaries, for as long as the process lives."""

    def __init__(self) -> None:
        self._threads: dict[str, ThreadMetadata] = {}
        self._items: dict[str, dict[str, ThreadItem]] = {}

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        if thread_id not in self._threads:
            raise NotFoundError(thread_id)
        return self._threads[thread_id].model_copy(deep=True)

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        self._threads[thread.id] = thread.model_copy(deep=True)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        return _page(list(self._threads.values()), limit, after, order)

    async def delete_thread(self, thread_id: str, context: Any) -> None:
        self._threads.pop(thread_id, None)
        self._items.pop(thread_id, None)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        return _page(list(self._items.get(thread_id, {}).values()), limit, after, order)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        self._items.setdefault(thread_id, {})[item.id] = item.model_copy(deep=True)

    async def load_item(self, thread_id: str, item_id: str, context: Any) -> ThreadItem:
        try:
            return self._items[thread_id][item_id]
        except KeyError as error:
            raise NotFoundError(item_id) from error

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Any) -> None:
        self._items.get(thread_id, {}).pop(item_id, None)

    async def save_attachment(self, attachment: Attachment, context: Any) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: Any) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        raise NotImplementedError


def _page(rows: list[T], limit: int, after: str | None, order: str) -> Page[T]:
    if order == "desc":
        rows.reverse()
    start = next((index + 1 for index, row in enumerate(rows) if row.id == after), 0)
    page = rows[start : start + limit]
    has_more = start + limit < len(rows)
    return Page(data=page, has_more=has_more, after=page[-1].id if has_more else None)


def application(server: ChatKitServer[Any]) -> Starlette:
    """The ASGI application around a server."""

    async def chatkit(request: Request) -> Response:
        result = await server.process(await request.body(), {"request": request})
        if isinstance(result, StreamingResult):
            return StreamingResponse(result, media_type="text/event-stream")
        return Response(result.json, media_type="application/json")

    return Starlette(routes=[Route("/chatkit", chatkit, methods=["POST"])])


deltas = application(Deltas(MemoryStore()))
short = application(Short(MemoryStore()))
agent = application(Scripted(MemoryStore()))
