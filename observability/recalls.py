"""What else is known of turns whose process died: asked of whoever keeps their conversations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.db import transaction

if TYPE_CHECKING:
    from .models import Turn
    from .recorder import Line

logger = logging.getLogger(__name__)

_recalls: list[Callable[[Turn], Sequence[Line]]] = []


def recall_with(recall: Callable[[Turn], Sequence[Line]]) -> None:
    """Have the sweeper ask this for the messages of a turn, in their order: for an app's ``ready``.

    It is asked in a transaction. What can't be read is a LookupError, a TypeError or a ValueError.
    """
    _recalls.append(recall)


def recalled(turn: Turn) -> list[Line]:
    """The messages that are still known of a turn; none of which can't be read."""
    try:
        with transaction.atomic():
            return [line for recall in _recalls for line in recall(turn)]
    except (LookupError, TypeError, ValueError) as error:
        # By its kind alone: its text may quote what was said. The turn is finished all the same.
        logger.error("Nothing is recalled of turn %s: %s", turn.trace_id, type(error).__name__)
        return []
