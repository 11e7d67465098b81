"""A stand-in for whoever takes our webhook: it verifies signatures as a receiver should."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .anosys import Answer
from .posts import Post, PostStandin, serve

SECRET = "a-shared-secret"
TOLERANCE_SECONDS = 300


class WebhookStandin(PostStandin):
    """Answers 401 to what is not signed with its secret, or was long ago."""

    path = "/hooks/s3cret-path"

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.events: list[dict[str, Any]] = []
        """What came with a good signature."""

    @property
    def hook_url(self) -> str:
        return f"{self.url}{self.path}"

    def received(self, post: Post) -> Answer:
        answer = super().received(post)
        if post.path != self.path:
            return Answer(status=404)
        if not self._is_signed(post):
            return Answer(status=401)
        self.events.append(json.loads(post.body))
        return answer

    def _is_signed(self, post: Post) -> bool:
        parts = dict(part.split("=", 1) for part in post.headers["x-signature"].split(","))
        if abs(time.time() - int(parts["t"])) > TOLERANCE_SECONDS:
            return False
        signed = parts["t"].encode() + b"." + post.body
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, parts["v1"])


@contextmanager
def webhook_standin(secret: str = SECRET) -> Iterator[WebhookStandin]:
    """Serve for as long as the block runs."""
    standin = WebhookStandin(secret)
    with serve(standin):
        yield standin
