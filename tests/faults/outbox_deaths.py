"""The marked points at which a child of the nursery kills itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any
from unittest import mock

from django.db import connection, transaction
from django.db.backends.signals import connection_created

from observability import outbox, retention
from observability.http_client import BoundedClient


def replace(owner: Any, name: str, value: Any) -> None:
    """For the rest of the process."""
    mock.patch.object(owner, name, value).start()


class Death:
    """SIGKILL at the last of so many passes."""

    def __init__(self, passes: int) -> None:
        self._left = passes

    def passes(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def _while_it_claims(passes: int) -> None:
    death = Death(passes)

    def execute(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if sql.startswith("UPDATE") and connection.in_atomic_block:
            death.passes()
        return result

    connection_created.connect(
        lambda connection, **kwargs: connection.execute_wrappers.append(execute), weak=False
    )


def _after_the_claim(passes: int) -> None:
    death, claim = Death(passes), outbox.claim

    def claim_and_die(*args: Any) -> Any:
        claimed = claim(*args)
        death.passes()
        return claimed

    replace(outbox, "claim", claim_and_die)


def _before_the_request(passes: int) -> None:
    death, post_all = Death(passes), BoundedClient.post_all

    def die_or_post(client: BoundedClient, posts: Any) -> Any:
        death.passes()
        return post_all(client, posts)

    replace(BoundedClient, "post_all", die_or_post)


def _after_the_answer(passes: int) -> None:
    death, post_all = Death(passes), BoundedClient.post_all

    def post_and_die(client: BoundedClient, posts: Any) -> Any:
        answers = post_all(client, posts)
        death.passes()
        return answers

    replace(BoundedClient, "post_all", post_and_die)


def _while_it_settles(passes: int) -> None:
    death, settle = Death(passes), outbox._settle

    def settle_and_die(*args: Any, **kwargs: Any) -> int:
        with transaction.atomic():
            count = settle(*args, **kwargs)
            death.passes()
        return count

    replace(outbox, "_settle", settle_and_die)


def _while_it_prunes(passes: int) -> None:
    death = Death(passes)
    replace(retention, "IDS_AT_ONCE", 5)

    def execute(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if sql.startswith("DELETE"):
            death.passes()
        return result

    connection_created.connect(
        lambda connection, **kwargs: connection.execute_wrappers.append(execute), weak=False
    )


POINTS: dict[str, Callable[[int], None]] = {
    "while it claims": _while_it_claims,
    "after the claim": _after_the_claim,
    "before the request": _before_the_request,
    "after the answer": _after_the_answer,
    "while it settles": _while_it_settles,
    "while it prunes": _while_it_prunes,
}
