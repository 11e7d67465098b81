"""The site, with pages that have the chat in their corner and in their middle."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

ROOT_URLCONF = "tests.sites.corner"
