"""The site's settings with a server that sends widgets, questions and calls of the page's tools."""

from __future__ import annotations

from chatsite.settings import *  # noqa: F403

CHATKIT_SERVER = "tests.sites.concierge.Concierge"
