"""Reading HTML pages in tests."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client


def html(client: Client, url: str, **query: Any) -> str:
    """The page at this address, which must be there."""
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


class Page(HTMLParser):
    """The elements of a page with the names of their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.feed(source)

    @property
    def text(self) -> str:
        """What a reader reads, in one line."""
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
