"""The site, where a server answers that says more than a slow client takes."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

CHATKIT_SERVER = "tests.sites.flood.Flood"
