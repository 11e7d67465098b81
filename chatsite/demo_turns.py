"""A few dozen turns for the demo: sent to the real endpoint, answered by the demo model."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.test import AsyncClient, override_settings
from tqdm import tqdm

AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Conversation:
    prompts: Sequence[str]
    locale: str = "en"
    frames_to_read: int | None = None
    """The visitor leaves after so many frames of the last answer; None: reads to the end."""


CONVERSATIONS = (
    Conversation(
        prompts=("Hello! What can you do?", "What time is it in Tokyo?", "Thank you, goodbye.")
    ),
    Conversation(prompts=("Which plan includes priority support?", "And what does it cost?")),
    Conversation(
        prompts=("My invoice of March is missing.", "It should go to accounting.", "When?")
    ),
    Conversation(prompts=("Can I change the delivery address of my order?",)),
    Conversation(prompts=("What is the date today?", "And the time in Berlin?")),
    Conversation(prompts=("Wie spät ist es? Ich brauche die Uhrzeit.", "Danke!"), locale="de"),
    Conversation(prompts=("Wo finde ich meine Rechnungen?",), locale="de"),
    Conversation(prompts=("Please connect me to the warehouse. /error", "Is it back again?")),
    Conversation(prompts=("Write me the whole manual. /long",), frames_to_read=40),
    Conversation(prompts=("Summarise the return policy. /slow",)),
    Conversation(
        prompts=("How do I reset my password?", "The mail does not arrive.", "It did now.")
    ),
    Conversation(prompts=("Do you ship to Norway?", "And to Iceland?")),
    Conversation(prompts=("Tell me a story. /long",), frames_to_read=90),
    Conversation(prompts=("The export fails with a time-out. What is the time limit?",)),
    Conversation(
        prompts=("Is there an API?", "Which formats does it speak?", "Where is its manual?")
    ),
    Conversation(prompts=("Cancel my subscription, please. /error",)),
    Conversation(prompts=("I was charged twice.", "The second one is from today.")),
    Conversation(prompts=("Can two people share one account?",)),
    Conversation(prompts=("What are your opening hours?", "What time is it there now?")),
)


async def run(users: Sequence[User]) -> None:
    """Hold all conversations, a few at once, the users taking turns."""
    slots = asyncio.Semaphore(AT_ONCE)
    total = sum(len(conversation.prompts) for conversation in CONVERSATIONS)
    settings = override_settings(OPENAI_API_KEY="", ALLOWED_HOSTS=["testserver"])
    with settings, _quiet(), tqdm(total=total, unit="turn", leave=False) as bar:

        async def hold(number: int, conversation: Conversation) -> None:
            async with slots:
                client = AsyncClient()
                await client.aforce_login(users[number % len(users)])
                await _hold(client, conversation, bar)

        await asyncio.gather(*(hold(*entry) for entry in enumerate(CONVERSATIONS)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Two of the conversations fail on purpose: nobody needs to read their tracebacks."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


async def _hold(client: AsyncClient, conversation: Conversation, bar: tqdm[Any]) -> None:
    thread_id: str | None = None
    for number, prompt in enumerate(conversation.prompts, start=1):
        is_last = number == len(conversation.prompts)
        started = await _ask(
            client,
            prompt,
            thread_id=thread_id,
            locale=conversation.locale,
            frames_to_read=conversation.frames_to_read if is_last else None,
        )
        thread_id = thread_id or started
        bar.update()


async def _ask(
    client: AsyncClient,
    prompt: str,
    *,
    thread_id: str | None,
    locale: str,
    frames_to_read: int | None,
) -> str | None:
    """Send one prompt and read the answer. Returns the id of the thread if one was created."""
    user_input = {
        "content": [{"type": "input_text", "text": prompt}],
        "attachments": [],
        "inference_options": {},
    }
    if thread_id is None:
        body: dict[str, Any] = {"type": "threads.create", "params": {"input": user_input}}
    else:
        params = {"thread_id": thread_id, "input": user_input}
        body = {"type": "threads.add_user_message", "params": params}
    response = await client.post(
        "/chatkit",
        data=json.dumps(body),
        content_type="application/json",
        headers={"accept-language": locale},
    )
    if response.status_code != HTTPStatus.OK:
        raise CommandError(f"The endpoint answered {response.status_code}.")
    created = None
    parts = cast("AsyncGenerator[bytes, None]", aiter(cast("Any", response)))
    read = 0
    async for part in parts:
        # What was there at once comes as one part.
        frames = part.split(b"\n\n")[:-1]
        for event in (json.loads(frame.removeprefix(b"data: ")) for frame in frames):
            if event["type"] == "thread.created":
                created = event["thread"]["id"]
        read += len(frames)
        if frames_to_read is not None and read >= frames_to_read:
            break
    await parts.aclose()
    return created
