"""The site's settings, with leases that a test can wait for, and with what tests name in variables.

``SITE_SERVER`` is CHATKIT_SERVER, ``SITE_PATIENCE`` how many seconds SQLite waits for a lock, and
``SITE_NAMES`` a file: see :mod:`.site_names`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from chatsite import settings
from chatsite.settings import *  # noqa: F403

from . import site_names

if TYPE_CHECKING:
    from agents import Agent
    from chatkit.agents import AgentContext

    from chatkit_endpoint.context import RequestContext

OBSERVABILITY_LEASE_SECONDS = 3
# A seat that a killed process held is free again half a minute after the longest turn.
CHATKIT_TURN_TIMEOUT = 60
CHATKIT_MAX_STREAMS = 1000
CHATKIT_AGENT = "tests.faults.site_settings.quick_agent"
CHATKIT_SERVER = os.environ.get("SITE_SERVER", "")

if "sqlite3" in settings.DATABASES["default"]["ENGINE"]:
    settings.DATABASES["default"]["OPTIONS"]["timeout"] = float(
        os.environ.get("SITE_PATIENCE", "20")
    )
if "SITE_NAMES" in os.environ:
    site_names.install(os.environ["SITE_NAMES"])


def quick_agent(context: RequestContext) -> Agent[AgentContext[RequestContext]]:
    """The default assistant with a demo model that takes a third of a second."""
    from chatkit_endpoint import assistant, demo_model

    agent = assistant.build_agent()
    agent.model = demo_model.DemoModel(seconds_per_word=0.005)
    return agent
