"""How much of a fault is done: as much as was promised, or as much as fits into every test run."""

from __future__ import annotations

import os

IS_WHOLE = os.environ.get("FAULTS") == "whole"


def times(whole: int, short: int) -> int:
    """How often to do something: ``whole`` under ``make faults``, else ``short``."""
    return whole if IS_WHOLE else short
