"""``kill -9`` of the site's processes while people chat and turns are on their way to Anosys."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from observability.courier import AT_ONCE
from tests.faults.scale import times
from tests.servers import Server, django_server
from tests.standins.anosys import AnosysStandin, Answer, anosys_standin

from .site_load import Load, people_chatting
from .site_servers import (
    SETTINGS,
    forwarding_to,
    only_on_postgres,
    servers_of_one_site,
    turns_of,
    wait_until_all_is_delivered,
)

PEOPLE = 6
MOST_EVENTS = times(800, 300)
"""That people see between two kills, at most: those of several turns."""
SLOW_COLLECTOR = Answer(delay=0.1)
"""So that there is always something on its way."""


@pytest.fixture
def anosys() -> Iterator[AnosysStandin]:
    with anosys_standin() as standin:
        standin.answer_always(SLOW_COLLECTOR)
        yield standin


@pytest.mark.timeout(3600)
def test_a_site_that_is_killed_at_any_moment_loses_nothing(
    tmp_path: Path, anosys: AnosysStandin
) -> None:
    with django_server(tmp_path, settings_module=SETTINGS, **forwarding_to(anosys)) as server:
        with people_chatting([server], PEOPLE) as load:
            for _ in range(times(200, 4)):
                load.wait_for_events(random.randint(0, MOST_EVENTS))  # noqa: S311
                server.kill()
                server.start()
        wait_until_all_is_delivered(server)
        assert_nothing_was_lost(server, load, anosys)


@only_on_postgres
@pytest.mark.timeout(3600)
def test_a_site_of_four_processes_of_which_any_is_killed_loses_nothing(
    tmp_path: Path, anosys: AnosysStandin
) -> None:
    kills = times(50, 3)
    with servers_of_one_site(tmp_path, 4, **forwarding_to(anosys)) as site:
        with people_chatting(site, 2) as load, ThreadPoolExecutor(len(site)) as pool:
            starts: dict[int, Future[None]] = {}
            for number in range(kills):
                load.wait_for_events(random.randint(0, MOST_EVENTS))  # noqa: S311
                # The others go on while one starts again.
                at = random.choice([each for each in range(len(site)) if each not in starts])  # noqa: S311
                site[at].kill()
                starts[at] = pool.submit(site[at].start)
                if len(starts) == len(site) - 1 or number == kills - 1:
                    for start in starts.values():
                        start.result()
                    starts.clear()
        wait_until_all_is_delivered(site[0])
        assert_nothing_was_lost(site[0], load, anosys)
        repeats = Counter(anosys.event_ids).total() - len(set(anosys.event_ids))
        assert repeats <= kills * AT_ONCE


def assert_nothing_was_lost(server: Server, load: Load, anosys: AnosysStandin) -> None:
    """Every turn has the end that its client saw, and Anosys knows of every turn.

    A turn's end is written before the last byte goes out. So a kill between the two leaves a turn
    completed, or failed by its own error, whose end nobody saw: then it has the whole answer.
    """
    turns = {turn["request_id"]: turn for turn in turns_of(server)}
    assert len(turns) == len(turns_of(server))
    asked = {each.request_id: each for each in load.asked}
    assert turns.keys() <= asked.keys()
    outcomes: Counter[str] = Counter()
    for request_id, each in asked.items():
        turn = turns.get(request_id)
        if each.saw_end:
            assert turn is not None, f"The turn of {request_id} is lost."
            assert turn["status"] == ("failed" if each.errors else "completed")
            assert turn["response"] == each.text
        elif turn is not None and turn["status"] == "completed":
            assert turn["response"].startswith(each.text)
            assert turn["response"].rstrip()[-1] in ".)"
        elif turn is not None:
            assert turn["status"] in {"cancelled", "failed", "interrupted"}
            # Swept with what its conversation has, which is the whole answer or none.
            assert each.text.startswith(turn["response"]) or turn["response"].startswith(each.text)
        outcomes[f"{turn['status'] if turn else 'no turn'}, {each.saw_end=}"] += 1
    assert {turn["trace_id"] for turn in turns.values()} <= set(anosys.event_ids)
    assert anosys.stray_requests == []
    print(dict(outcomes), f"{len(anosys.events)} events sent")  # noqa: T201
