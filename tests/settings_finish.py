"""The site, where turns run to their end though nobody reads."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

CHATKIT_ON_DISCONNECT = "finish"
