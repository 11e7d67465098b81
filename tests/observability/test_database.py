"""The one way from async code to the ORM, and what its transactions promise."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from observability.database import forgettable_transaction


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's own")
def test_only_what_may_be_forgotten_does_not_wait_for_the_disk() -> None:
    def waits() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    with transaction.atomic():
        usual = waits()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
    with forgettable_transaction():
        assert waits() == "off"
    with transaction.atomic():
        with forgettable_transaction():
            assert waits() == "on", "It is the whole transaction's to say."
        assert waits() == "on"
    with connection.cursor() as cursor:
        cursor.execute(f"SET synchronous_commit TO {usual}")
