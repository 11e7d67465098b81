"""The benchmarks' site, with its visitors' files in a folder that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

from .settings import *  # noqa: F403

MEDIA_ROOT = Path(os.environ["BENCHMARK_MEDIA"])
