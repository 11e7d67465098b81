"""The site, with an assistant whose tool fails."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

CHATKIT_AGENT = "tests.sites.broken_clock.agent"
