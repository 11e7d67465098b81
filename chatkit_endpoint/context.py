"""Who asks: what the endpoint knows of a request, handed to the server, the store and the tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.module_loading import import_string

from observability.span_log import SpanLog

from .conf import conf

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from observability.facts import Source
    from observability.prepared import Ready
    from observability.recorder import TurnRecorder


@dataclass(kw_only=True)
class RequestContext:
    """One request to the endpoint. The store isolates by ``tenant`` and ``owner_key`` alone."""

    user: AbstractBaseUser | None
    """None for a guest."""
    owner_key: str
    """``user:<pk>`` or ``guest:<id>``."""
    tenant: str = ""
    session_id: str = ""
    request_id: str = ""
    locale: str = "en"
    base_url: str = ""
    """Where the visitor reached the site, such as ``https://example.com/``."""
    operation: str = ""
    """ChatKit's name of what is asked, such as ``threads.create``."""
    received_at: datetime = field(default_factory=timezone.now)
    received_tick: float = field(default_factory=time.perf_counter)
    """The same moment on the monotonic clock, in seconds."""
    spans: SpanLog = field(default_factory=SpanLog, repr=False)
    """The timed steps of this request."""
    turn: TurnRecorder | None = field(default=None, repr=False)
    """The turn that answers this request, once there is one."""
    settles_with: Callable[[], Sequence[Ready]] | None = field(default=None, repr=False)
    """What else is to be written when that turn is settled; the first to begin takes it away."""
    is_streamed: bool = False
    """Whether a stream answers it, and so a turn, unless that fails before it begins."""

    @property
    def has_turn_ahead(self) -> bool:
        """Whether, if nothing fails, the beginning or the end of a turn is yet to be stored."""
        return self.is_streamed and (self.turn is None or not self.turn.has_ended)

    @property
    def facts(self) -> Source | None:
        """How the site's CHATKIT_TURN_CONTEXT is asked about this request; None where it is unset.

        On a thread that may query. It raises what the site's function does, and ImportError.
        """
        path = conf().chatkit_turn_context
        return partial(_ask_site, path, self) if path else None


def _ask_site(path: str, context: RequestContext) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = import_string(path)(context)
    return facts
