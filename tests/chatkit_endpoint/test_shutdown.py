"""The end of a process with streams at work: one that was asked for, and one that was not."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.chatkit_client import ChatClient, Stream
from tests.servers import Server, django_server, wait_until
from tests.standins.anosys import anosys_standin

LIVE = 10
END_SECONDS = 10.0
"""uvicorn waits a second for its connections, then turns are given five to settle, the worker two;
the rest is for a slow machine."""


@contextmanager
def live_streams(client: ChatClient, count: int) -> Iterator[list[Stream]]:
    """So many answers that are being written and would go on for a long time."""
    with ExitStack() as open_streams:
        streams = [
            open_streams.enter_context(client.ask(f"/long {number}", X_Request_ID=an_id(number)))
            for number in range(count)
        ]
        for stream in streams:
            stream.until_text(3)
        yield streams


def an_id(number: int) -> str:
    return f"live-stream-{number:02}"


def turns_of(server: Server) -> list[dict[str, Any]]:
    return server.query("select * from observability_turn order by request_id")


def answers_kept(server: Server, turn: dict[str, Any]) -> tuple[str, str]:
    """What the turn's messages and what the thread's items have of the answer."""
    [message] = server.query(
        "select text from observability_message where turn_id = %s and kind = 'response'",
        turn["id"],
    )
    [item] = server.query(
        "select item.payload from chatkit_endpoint_threaditem item"
        " join chatkit_endpoint_thread thread on thread.id = item.thread_id"
        " where thread.key = %s and item.type = 'assistant_message'",
        turn["thread_id"],
    )
    parts = json.loads(item["payload"])["content"]
    return message["text"], "".join(part["text"] for part in parts)


def test_sigterm_settles_every_live_stream_before_the_process_ends(tmp_path: Path) -> None:
    with django_server(tmp_path) as server, ChatClient(server.url) as client:
        with live_streams(client.sign_in("alice"), LIVE):
            assert [turn["status"] for turn in turns_of(server)] == ["running"] * LIVE
            status = server.terminate(END_SECONDS)

        # As they are at the process' end: nothing settles them later.
        turns = turns_of(server)
        assert [turn["request_id"] for turn in turns] == [an_id(number) for number in range(LIVE)]
        assert [turn["status"] for turn in turns] == ["cancelled"] * LIVE
        for turn in turns:
            assert turn["response"].startswith("word 1 word 2 ")
            assert turn["duration_ms"] > 0
            in_turn, in_thread = answers_kept(server, turn)
            assert in_turn == turn["response"]
            # The thread may have a word more, one that was not sent any more.
            assert in_thread.startswith(in_turn)
        assert status in (0, -signal.SIGTERM)
        assert "not settled in time" not in server.log


def test_what_a_killed_process_left_running_is_swept_as_interrupted_at_the_next_start(
    tmp_path: Path,
) -> None:
    with (
        anosys_standin() as anosys,
        django_server(
            tmp_path,
            settings_module="tests.settings_short_lease",
            ANOSYS_API_KEY=anosys.api_key,
            ANOSYS_RESOLVER_URL=anosys.resolver_url,
        ) as server,
        ChatClient(server.url) as client,
    ):
        with live_streams(client.sign_in("alice"), 3):
            server.kill()
        assert [turn["status"] for turn in turns_of(server)] == ["running"] * 3

        server.restart()
        wait_until(
            lambda: {turn["status"] for turn in turns_of(server)} == {"interrupted"},
            20,
            "the sweeper's work",
        )
        turns = turns_of(server)
        for number, turn in enumerate(turns):
            assert turn["prompt"] == f"/long {number}"
            assert turn["ended_at"] is not None
            assert turn["lease_expires_at"] is None
            # How long it took nobody knows.
            assert turn["total_ms"] is None

        # Told of like any other turn.
        anosys.wait_for(3)
        told = {(event["event_id"], event["cvs8"]) for event in anosys.events}
        assert told == {(turn["trace_id"], "interrupted") for turn in turns}

        # The person goes on where they were cut off.
        thread_id = turns[0]["thread_id"]
        client.chat("/error", thread_id)
        answer = client.post("items.list", {"thread_id": thread_id, "order": "asc"})
        prompts = [item for item in answer.json()["data"] if item["type"] == "user_message"]
        assert [item["content"][0]["text"] for item in prompts] == ["/long 0", "/error"]
