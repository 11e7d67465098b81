"""Four server processes behind one port, on PostgreSQL: all that they share stays right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.db import connection

from tests.chatkit_client import ChatClient
from tests.servers import Server, django_server, wait_until
from tests.standins.anosys import AnosysStandin, anosys_standin

pytestmark = [
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite is for one process"),
    pytest.mark.timeout(300),
]

PROCESSES = 4
CHATS = 24
RATE = 30
TOKEN = "a token for Prometheus"
UNTIL_DONE_SECONDS = 150.0
"""A chore of the workers comes round within a minute and a half, and the machine may be busy."""


@dataclass(frozen=True, kw_only=True)
class Site:
    server: Server
    anosys: AnosysStandin
    cookies: dict[str, httpx.Cookies]

    def chat(self, name: str) -> tuple[int, str]:
        """A new connection, so that whichever process is free takes it."""
        with ChatClient(self.server.url) as client:
            client.http.cookies.update(self.cookies[name])
            answer = client.post(
                "threads.create",
                {
                    "input": {
                        "content": [{"type": "input_text", "text": "What time is it?"}],
                        "attachments": [],
                        "inference_options": {},
                    }
                },
            )
        return answer.status_code, answer.text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        anosys_standin() as anosys,
        django_server(
            tmp_path_factory.mktemp("site"),
            WEB_CONCURRENCY=str(PROCESSES),
            CHATKIT_RATE_LIMIT=f"{RATE}/h",
            ANOSYS_API_KEY=anosys.api_key,
            ANOSYS_RESOLVER_URL=anosys.resolver_url,
            OBSERVABILITY_METRICS_TOKEN=TOKEN,
            THREAD_RETENTION_DAYS="1",
        ) as server,
    ):
        cookies = {}
        for name in ("alice", "bob", "operator"):
            with ChatClient(server.url) as client:
                cookies[name] = client.sign_in(name).http.cookies
        yield Site(server=server, anosys=anosys, cookies=cookies)


def test_four_processes_act_as_one(site: Site) -> None:
    """One test, for its steps stand on each other and the start takes longest."""
    server, anosys = site.server, site.anosys
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    assert len(children) >= PROCESSES

    # Chats: all of them are answered and settled, and each is forwarded once.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(site.chat, ["bob", "operator"] * (CHATS // 2)))
    assert [status for status, _ in answers] == [200] * CHATS
    assert all("thread.item.done" in text for _, text in answers)
    wait_until(lambda: len(anosys.ingested) >= CHATS, UNTIL_DONE_SECONDS, "deliveries")
    events = Counter(event["event_id"] for event in anosys.events)
    stored = server.query("select trace_id, status from observability_turn")
    assert {row["status"] for row in stored} == {"completed"}
    assert events == Counter(row["trace_id"] for row in stored)

    # A limit is a limit of all processes together.
    with ThreadPoolExecutor(8) as pool:
        asked = Counter(status for status, _ in pool.map(site.chat, ["alice"] * (RATE + 10)))
    assert asked == {200: RATE, 429: 10}
    turns = CHATS + RATE
    assert not server.query("select * from chatkit_endpoint_openstream")

    # Whichever process is asked tells the same.
    assert {_turns_told(server) for _ in range(12)} == {turns}

    # What is two hours old is summed up, once; what is two days old goes, in one run.
    server.query(
        "update observability_turn set started_at = started_at - interval '2 hours',"
        " ended_at = ended_at - interval '2 hours' returning id"
    )
    server.query(
        "update chatkit_endpoint_thread set updated_at = updated_at - interval '2 days'"
        " where owner_key = (select owner_key from observability_turn limit 1) returning id"
    )
    of_hours = "select sum(turns) as turns from observability_rollup"
    where = " where period = 'hour' and dimension = ''"
    wait_until(
        lambda: server.query(of_hours + where)[0]["turns"] == turns,
        UNTIL_DONE_SECONDS,
        "the sums of hours",
    )
    wait_until(
        lambda: server.query(
            "select * from observability_retentionrun where finished_at is not null"
        ),
        UNTIL_DONE_SECONDS,
        "a retention run",
    )
    assert len(server.query("select * from observability_retentionrun")) == 1


def _turns_told(server: Server) -> int:
    """By a process of the four, to Prometheus."""
    answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    found = re.findall(r"^chatkit_recent_turns\{[^}]*\} ([\d.e+]+)$", answer.text, re.MULTILINE)
    assert found, answer.text
    return round(sum(map(float, found)))
