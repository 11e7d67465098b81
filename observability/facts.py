"""What the site itself knows of a turn: small values, and objects of its own.

They may tell who somebody is. So they go when the turn's text goes, only who may read that sees
them, and no collector is told.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from django.db.models import Model

from .database import storable
from .models import TurnFact

logger = logging.getLogger(__name__)

FACTS_AT_MOST = 20
VALUE_CHARS = 200
MODEL_CHARS = 100
KEY_CHARS = 64
"""As long as the columns of a TurnFact."""
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

Source = Callable[[], Mapping[str, Any]]
"""The site's own code, to be asked on a thread that may query: keys and what is known by them."""


def facts_of(source: Source, trace_id: str) -> list[TurnFact]:
    """What the site says of this turn, yet without the turn. Never fails: it is logged instead.

    Values are str, int, float, bool, None or an instance of a model; of a longer text the beginning
    is kept. Left out are other values, keys other than ``[a-z][a-z0-9_]{0,63}``, and what comes
    after the first FACTS_AT_MOST.
    """
    facts: list[TurnFact] = []
    try:
        told = source()
        for key, value in islice(told.items(), FACTS_AT_MOST):
            try:
                facts.append(_fact(key, value))
            except Exception as error:
                _tell(trace_id, error)
        if len(told) > FACTS_AT_MOST:
            raise ValueError("Too many.")
    except Exception as error:
        _tell(trace_id, error)
    return facts


def _fact(key: Any, value: Any) -> TurnFact:
    """Raises ValueError for a key and TypeError for a value that can't be kept, and whatever an
    object's ``__str__`` raises.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError("Not a key.")
    if not isinstance(value, str | int | float | Model | None):
        raise TypeError("Not a small value.")
    shown = "" if value is None else storable(str(value))[:VALUE_CHARS]
    fact = TurnFact(key=key, value=shown)
    if isinstance(value, Model):
        model, pk = value._meta.label_lower, storable(str(value.pk))
        # A part of a name or a key would lead to another object.
        if value.pk is not None and len(model) <= MODEL_CHARS and len(pk) <= KEY_CHARS:
            fact.object_model, fact.object_id = model, pk
    return fact


def _tell(trace_id: str, error: Exception) -> None:
    # No text of the error, nor the key: either may quote a visitor.
    fields = {"turn": trace_id, "error": type(error).__name__}
    logger.warning("A fact of a turn was not kept.", extra={"fields": fields})
