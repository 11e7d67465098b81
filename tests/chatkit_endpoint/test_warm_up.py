"""The start of a process: what stays is loaded, and searched for garbage no more."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from chatkit_endpoint.warm_up import spare_collector


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.unfreeze()
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_garbage_is_not_looked_for_in_what_was_loaded_at_the_start() -> None:
    before = len(gc.get_objects())
    spare_collector()
    assert gc.get_freeze_count() > 0.5 * before
    assert len(gc.get_objects()) < 0.5 * before
