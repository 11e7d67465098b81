"""A server that says far more than a slow client takes, and does little else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from chatkit.server import ChatKitServer
from chatkit.types import ProgressUpdateEvent, ThreadMetadata, ThreadStreamEvent, UserMessageItem

from chatkit_endpoint.context import RequestContext

FLOOD = "Go on!"
"""The prompt that makes it say 2 MB; any other makes it say a word."""


class Flood(ChatKitServer[RequestContext]):
    async def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        asked = input_user_message.content[0].text if input_user_message is not None else ""
        if asked != FLOOD:
            yield ProgressUpdateEvent(text="Done")
            return
        for _ in range(100):
            yield ProgressUpdateEvent(text="x" * 20_000)
            await asyncio.sleep(0)
