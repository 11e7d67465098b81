"""People who chat without a pause, and note what they saw."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.chatkit_client import ChatClient
from tests.servers import Server, wait_until

PROMPTS = ("Hello", "What time is it?", "Tell me about ocelots", "/error")
DOWN_SECONDS = 0.1
"""How long somebody waits to ask again where nobody answers."""


@dataclass(kw_only=True)
class Asked:
    """One question, and what came back."""

    request_id: str
    text: str = ""
    errors: int = 0
    saw_end: bool = False


@dataclass
class Load:
    """All that was asked so far."""

    asked: list[Asked] = field(default_factory=list)
    events: int = 0
    """How many have come in; about so, for people count without waiting for each other."""

    def wait_for_events(self, count: int) -> None:
        """Until so many more have come: a span of time that is as long as the machine is slow."""
        before = self.events
        wait_until(lambda: self.events >= before + count, 120, f"{count} events")


@contextmanager
def people_chatting(sites: Sequence[Server], people: int) -> Iterator[Load]:
    """So many of them at each site, for as long as the block runs and until their last answer."""
    load = Load()
    is_over = threading.Event()
    with ChatClient(sites[0].url).sign_in("alice") as signed_in:
        cookies = signed_in.http.cookies
        with ThreadPoolExecutor(people * len(sites)) as pool:
            loops: list[Future[None]] = [
                pool.submit(_chat, site.url, cookies, f"person-{at}-{each}", load, is_over)
                for at, site in enumerate(sites)
                for each in range(people)
            ]
            try:
                yield load
            finally:
                is_over.set()
            for loop in loops:
                loop.result()


def _chat(
    url: str, cookies: httpx.Cookies, name: str, load: Load, is_over: threading.Event
) -> None:
    with ChatClient(url) as client:
        client.http.cookies = cookies
        number = 0
        while not is_over.is_set():
            number += 1
            asked = Asked(request_id=f"{name}-{number:05}")
            load.asked.append(asked)
            try:
                with client.ask(
                    PROMPTS[number % len(PROMPTS)], X_Request_ID=asked.request_id
                ) as stream:
                    try:
                        for _ in stream:
                            load.events += 1
                        asked.saw_end = True
                    finally:
                        asked.text, asked.errors = stream.text, len(stream.errors)
            except httpx.TransportError:
                is_over.wait(DOWN_SECONDS)
