"""Ids that are random, each of them once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from observability.identifiers import AT_ONCE, new_id

from .helpers import run_python


def test_an_id_is_32_hex_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", new_id())


def test_no_two_threads_get_the_same() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: new_id(), range(20 * AT_ONCE)))
    assert len(set(found)) == len(found)


FORKS = """
import os
from observability.identifiers import new_id

new_id()
child = os.fork()
print(*(new_id() for _ in range(100)), flush=True)
if child:
    os.waitpid(child, 0)
"""


def test_a_process_that_is_forked_has_its_own() -> None:
    found = run_python(FORKS).split()
    assert len(set(found)) == 200
