"""The site's settings, with its visitors' files in ``SITE_MEDIA``, and as a fact of each turn what
the file ``SITE_FACT`` says at that time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatsite.settings import *  # noqa: F403

if TYPE_CHECKING:
    from chatkit_endpoint.context import RequestContext

MEDIA_ROOT = Path(os.environ["SITE_MEDIA"])
CHATKIT_TURN_CONTEXT = "tests.faults.purge_settings.facts_of"


def facts_of(context: RequestContext) -> dict[str, Any]:
    return {"case": Path(os.environ["SITE_FACT"]).read_text(encoding="utf-8")}
