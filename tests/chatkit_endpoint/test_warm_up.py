"""The start of a process: what stays is loaded, and searched for garbage no more."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from chatkit_endpoint.warm_up import spare_collector
from tests.observability.helpers import run_python


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


def test_the_types_of_an_answer_are_built_before_the_first_one_ends() -> None:
    # In a process of its own: here another test may have read an answer.
    code = (
        "import django; django.setup(); "
        "from chatkit_endpoint.warm_up import read_an_answer; read_an_answer(); "
        "from openai.types.responses import Response, ResponseOutputItemDoneEvent as Item; "
        "made = {type(each.__pydantic_validator__).__name__ for each in (Item, Response)}; "
        "assert made == {'SchemaValidator'}, made"
    )
    run_python(code)
