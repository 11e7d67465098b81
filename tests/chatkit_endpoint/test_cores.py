"""Each server process has a core of its own, where it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.observability.helpers import run_python
from tests.servers import django_server

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="This system can't tie a process to a core."
)

BEGIN = """
import os, socket, threading
from pathlib import Path
from chatkit_endpoint import cores

allowed = sorted(os.sched_getaffinity(0))
cores._NAME += str(os.getpid())  # Not those of a server that another test has started.

def cores_of_all_threads():
    threads = Path("/proc/self/task").iterdir()
    return {core for thread in threads for core in os.sched_getaffinity(int(thread.name))}
"""


def test_all_threads_keep_to_one_core() -> None:
    run_python(
        BEGIN
        + """
leave = threading.Event()
threads = [threading.Thread(target=leave.wait) for _ in range(3)]
for thread in threads[:2]:
    thread.start()
core = cores.keep_to_a_core()
threads[2].start()
assert core in allowed
assert cores_of_all_threads() == {core}
leave.set()
"""
    )


def test_no_two_processes_keep_to_the_same_core() -> None:
    run_python(
        BEGIN
        + """
taken = []
for _ in allowed:
    os.sched_setaffinity(0, allowed)
    taken.append(cores.keep_to_a_core())
assert sorted(taken) == allowed, taken
os.sched_setaffinity(0, allowed)
assert cores.keep_to_a_core() is None
assert cores_of_all_threads() == set(allowed)
"""
    )


def test_a_core_is_free_again_when_its_process_has_ended() -> None:
    run_python(
        BEGIN
        + """
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, b"%d" % cores.keep_to_a_core())
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
assert cores.keep_to_a_core() == int(os.read(reader, 9))
"""
    )


def test_a_process_that_may_not_be_tied_starts_all_the_same() -> None:
    run_python(
        BEGIN
        + """
tie = os.sched_setaffinity
def refuse(*_):
    raise PermissionError
os.sched_setaffinity = refuse
assert cores.keep_to_a_core() is None
os.sched_setaffinity = tie
assert cores.keep_to_a_core() == allowed[-1]
"""
    )


def test_a_server_keeps_to_a_core_if_it_is_told_to(tmp_path: Path) -> None:
    with django_server(tmp_path, CHATKIT_OWN_CORE="1") as server:
        (core,) = os.sched_getaffinity(server.pid)
        threads = [int(each.name) for each in Path(f"/proc/{server.pid}/task").iterdir()]
        assert len(threads) > 1
        assert all(os.sched_getaffinity(thread) == {core} for thread in threads)
        assert f"keeps to core {core}" in server.log


def test_a_server_that_is_told_nothing_uses_all_cores(tmp_path: Path) -> None:
    with django_server(tmp_path) as server:
        assert os.sched_getaffinity(server.pid) == os.sched_getaffinity(0)
