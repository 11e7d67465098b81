"""The site's settings with a lease that a test can wait for."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

OBSERVABILITY_LEASE_SECONDS = 2
