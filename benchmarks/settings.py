"""The site as in production, with what answers named by the environment."""

from __future__ import annotations

import os

from chatsite.settings import *  # noqa: F403

CHATKIT_SERVER = os.environ["BENCHMARK_CHATKIT_SERVER"]
CHATKIT_AGENT = os.environ["BENCHMARK_CHATKIT_AGENT"]
