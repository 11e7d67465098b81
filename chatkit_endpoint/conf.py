"""The settings of this app, typed, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from observability.conf import from_settings, until_settings_change


@dataclass(frozen=True, kw_only=True)
class Conf:
    """What ``settings`` say about the chat; a field is the setting of its name in capitals."""

    openai_api_key: str = field(default="", repr=False)
    """Empty: the demo model answers."""
    openai_base_url: str = ""
    """A server compatible with OpenAI's Responses API; empty: OpenAI itself."""
    chatkit_model: str = "gpt-5-mini"
    chatkit_reasoning_summary: Literal["", "auto", "concise", "detailed"] = "auto"
    """How a reasoning model of OpenAI is asked to tell its thoughts; empty: not at all."""
    chatkit_client: str = ""
    """The browser's element: builtin, openai, or auto: OpenAI's, else (it didn't load) the built-in
    one. Empty: auto where there is a domain key, else builtin."""
    chatkit_domain_key: str = ""
    chatkit_script_url: str = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js"
    chatkit_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of every chat of the site, spelled as in :mod:`.options`; a tag's arguments win."""
    chatkit_agent: str = ""
    """Dotted path of ``(RequestContext) -> agents.Agent``; empty: the default assistant."""
    chatkit_server: str = ""
    """Dotted path of ``(store, attachment_store) -> ChatKitServer``; empty: our own."""
    chatkit_authentication_classes: Sequence[str] = (
        "rest_framework.authentication.SessionAuthentication",
    )
    """Dotted paths of authentication classes of Django REST framework."""
    chatkit_tenant: str = ""
    """Dotted path of ``(HttpRequest) -> str``; empty: there is one tenant, called ""."""
    chatkit_turn_context: str = ""
    """Dotted path of ``(RequestContext) -> dict``: what a turn is about; empty: it is not asked."""
    chatkit_allow_anonymous: bool = False
    """Whether visitors without an account may chat, as guests of their session."""
    chatkit_on_disconnect: Literal["cancel", "finish"] = "cancel"
    """What becomes of a turn whose client goes away."""
    chatkit_transcription_model: str = "gpt-4o-mini-transcribe"
    """What turns speech into text, where there is a key."""
    chatkit_workflow_id: str = ""
    """A workflow that OpenAI hosts; empty: there is no hosted mode."""
    chatkit_turn_timeout: float = 300.0
    """Seconds after which a turn ends with an error."""
    chatkit_max_prompt_chars: int = 32_000
    """The longest message that a visitor may send."""
    chatkit_max_body_bytes: int = 1_000_000
    """The largest request body that the endpoint reads."""
    chatkit_rate_limit: str = "60/m"
    """What one owner may ask of the model: so many requests per s, m, h or d; empty: no limit."""
    chatkit_address_rate_limit: str = "300/m"
    """The same for one network address, behind which there may be many owners."""
    chatkit_trusted_proxies: int = 0
    """How many proxies of ours stand before the site, each adding to X-Forwarded-For."""
    chatkit_max_streams: int = 4
    """How many answers one owner may have streaming at once."""
    chatkit_own_core: bool = False
    """Whether each server process keeps to a processor core of its own."""
    thread_retention_days: int = 0
    """After how many days without a new word a conversation is deleted, with the text of its turns;
    0: never."""
    chatkit_attachment_max_bytes: int = 10 * 1024 * 1024
    """The largest file that a visitor may upload."""
    chatkit_attachment_max_count: int = 10
    """How many files a message may carry, and how many an owner may have uploaded and not sent."""
    chatkit_attachment_types: Sequence[str] = (
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "application/pdf",
        "text/csv",
        "text/markdown",
        "text/plain",
    )
    """MIME types of files that a visitor may upload; the bytes have to agree."""
    chatkit_attachment_storage: str = "default"
    """Alias in STORAGES. Name a private one where the default one's files are public."""
    chatkit_history_items: int = 50
    """How many of a thread's newest items the model is given."""

    @property
    def client(self) -> Literal["builtin", "openai", "auto"]:
        """The element that a page loads. Without a domain key OpenAI's can't be tried."""
        if self.chatkit_client == "openai":
            return "openai"
        if self.chatkit_client == "builtin" or not self.chatkit_domain_key:
            return "builtin"
        return "auto"

    @property
    def domain_key(self) -> str:
        return self.chatkit_domain_key

    @property
    def script_url(self) -> str:
        return self.chatkit_script_url


@until_settings_change
def conf() -> Conf:
    """The current settings."""
    return from_settings(Conf)
