from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.faults.outbox_processes import Nursery, running_nursery
from tests.faults.outbox_receiver import Receiver, running_receiver
from tests.observability.helpers import database_url


@pytest.fixture(scope="session")
def nursery_of_the_run(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nursery]:
    with running_nursery(database_url(), tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


@pytest.fixture
def nursery(nursery_of_the_run: Nursery, transactional_db: None) -> Iterator[Nursery]:
    """Forks processes on this test's database; they are gone before it is emptied."""
    yield nursery_of_the_run
    nursery_of_the_run.clear()


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    """A collector that deliveries are made for."""
    with running_receiver() as receiver:
        settings.ANOSYS_INGESTION_URL = receiver.url
        yield receiver
