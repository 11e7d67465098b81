"""What is kept of turns: the traces, what browsers reported, what is on its way to a collector,
who read what, and the sums that outlive them."""

from __future__ import annotations

from .client_events import ClientEvent
from .deliveries import Delivery, DeliveryQuerySet
from .governance import ContentAccess, Hold
from .requests import EndpointRequest
from .retention import RetentionRun, RetentionRunQuerySet
from .rollups import Rollup, RollupQuerySet
from .turns import (
    ERRORS,
    FIGURES,
    ID_LENGTH,
    TEXTS,
    Dashboard,
    Feedback,
    Message,
    Turn,
    TurnFact,
    TurnQuerySet,
    TurnSpans,
    new_trace_id,
)

__all__ = (
    "ERRORS",
    "FIGURES",
    "ID_LENGTH",
    "TEXTS",
    "ClientEvent",
    "ContentAccess",
    "Dashboard",
    "Delivery",
    "DeliveryQuerySet",
    "EndpointRequest",
    "Feedback",
    "Hold",
    "Message",
    "RetentionRun",
    "RetentionRunQuerySet",
    "Rollup",
    "RollupQuerySet",
    "Turn",
    "TurnFact",
    "TurnQuerySet",
    "TurnSpans",
    "new_trace_id",
)
