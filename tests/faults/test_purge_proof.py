"""After a purge nothing of what was said is left: in no column, no file, and no byte of the
database's own files once they are compacted. What was kept, and what is on hold, is all there.

Every text goes in by the site's front door, each with a canary of its own in it: a word of letters
in a row that nothing else has.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import string
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chatkit_client import ChatClient
from tests.servers import Server, django_server
from tests.standins.anosys import anosys_standin
from tests.standins.openai import OpenAIStandin, Play, openai_standin

from .scale import times
from .site_servers import IS_POSTGRES, forwarding_to

SEED = 17
LETTERS = {
    "Latin": string.ascii_lowercase,
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    # Without marks, which an index of words may take off.
    "Japanese": "アイウエオカキクケコサシスセソタチツテトナニヌネノマミムメモヤユヨラリルレロワ",
}
CANARY_LETTERS = 14
PER_SCRIPT = times(whole=6, short=1)
"""So many conversations of each person in each script."""
EVENTS = "/observability/api/events/"
PLACE_HOLD = "/admin/observability/hold/place/"


@dataclass
class Conversation:
    """What was said in a thread: canaries by their places."""

    thread_id: str = ""
    canaries: dict[str, str] = field(default_factory=dict)
    """What is stored of it."""
    never: dict[str, str] = field(default_factory=dict)
    """What a browser tells besides, of which nothing is."""


class Site:
    """A running site, and people who talk there about canaries."""

    def __init__(self, server: Server, openai: OpenAIStandin, fact: Path, media: Path) -> None:
        self.server = server
        self.media = media
        self._openai = openai
        self._fact = fact
        self._random = random.Random(SEED)  # noqa: S311 (to look the same every time)

    def converse(self, person: ChatClient, script: str) -> Conversation:
        """Two turns with a file, a title, a rating, and what the page reports of them."""
        told = Conversation()

        def say(place: str) -> str:
            told.canaries[place] = "".join(self._random.choices(LETTERS[script], k=CANARY_LETTERS))
            return told.canaries[place]

        first = self._turn(person, say, "first", files=[self._upload(person, say)])
        told.thread_id = first["thread_id"]
        second = self._turn(person, say, "second", told.thread_id)
        title = {"thread_id": told.thread_id, "title": f"About {say('title')}"}
        person.post("threads.update", title).raise_for_status()
        rating = {"item_ids": [second["item_id"]], "kind": "negative"}
        person.post("items.feedback", {"thread_id": told.thread_id, **rating}).raise_for_status()
        for place in ("log", "error", "action"):
            told.never[place] = "".join(self._random.choices(LETTERS[script], k=CANARY_LETTERS))
        action = {"action": "copy", "item_id": second["item_id"], "text": told.never["action"]}
        events = [
            {"name": "chatkit.log", "data": {"log": "x", "message": told.never["log"]}},
            {"name": "chatkit.error", "data": {"code": "x", "stack": told.never["error"]}},
            {"name": "message.action", "data": action},
        ]
        body = {
            "session_id": person.session_id,
            "events": [{**event, "thread_id": told.thread_id} for event in events],
        }
        assert person.send(json.dumps(body).encode(), EVENTS).status_code == 202
        return told

    def _turn(
        self,
        person: ChatClient,
        say: Any,
        name: str,
        thread_id: str | None = None,
        files: Iterable[str] = (),
    ) -> dict[str, str]:
        """What the model thinks and says comes in pieces, cut through the canaries."""
        thought, text = say(f"{name} thought"), say(f"{name} answer")
        self._openai.play = Play(
            thought=(f"Hm, {thought[:5]}", thought[5:], "."),
            text=(f"So {text[:3]}", text[3:9], f"{text[9:]}."),
            tool_arguments=json.dumps({"time_zone": say(f"{name} argument")}),
        )
        self._fact.write_text(say(f"{name} fact"), encoding="utf-8")
        prompt = {
            "content": [{"type": "input_text", "text": f"Well, {say(f'{name} prompt')}?"}],
            "attachments": list(files),
            "inference_options": {},
        }
        operation = "threads.create" if thread_id is None else "threads.add_user_message"
        params = (
            {"input": prompt} if thread_id is None else {"input": prompt, "thread_id": thread_id}
        )
        answer = person.post(operation, params)
        frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
        assert text in answer.text, answer.text
        done = [frame["item"] for frame in frames if frame["type"] == "thread.item.done"]
        return {"thread_id": done[-1]["thread_id"], "item_id": done[-1]["id"]}

    def _upload(self, person: ChatClient, say: Any) -> str:
        """The id of a file whose name and whose bytes have canaries."""
        file = (f"{say('file name')}.txt", f"Notes on {say('file')}\n".encode(), "text/plain")
        headers = {"X-CSRFToken": person.headers["X-CSRFToken"]}
        answer = person.http.post("/chatkit/attachments/", files={"file": file}, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        key: str = answer.json()["id"]
        return key

    def hold(self, thread_id: str) -> None:
        """As an operator does it, on the thread's page."""
        (owned,) = self.server.query(
            "select tenant, owner_key from chatkit_endpoint_thread where key = %s", thread_id
        )
        with ChatClient(self.server.url).sign_in("operator") as operator:
            token = operator.http.cookies["csrftoken"]
            answer = operator.http.post(
                PLACE_HOLD,
                params={**owned, "thread_id": thread_id},
                data={"reason": "A claim.", "csrfmiddlewaretoken": token},
            )
            assert answer.status_code == 302, answer.text

    def tables(self) -> bytes:
        """Every value of every row of every table."""
        database = self.server.database
        rows = (
            row
            for table in database.query(database._tables)
            for row in database.query(f'select * from "{table["name"]}"')  # noqa: S608
        )
        return b"\0".join(
            bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
            for row in rows
            for value in row.values()
        )

    def files(self) -> bytes:
        """Of what visitors have uploaded: paths and bytes."""
        found = [path for path in self.media.rglob("*") if path.is_file()]
        return b"\0".join(
            part for path in found for part in (str(path).encode(), path.read_bytes())
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    media, fact = tmp_path / "media", tmp_path / "fact"
    fact.touch()
    with (
        openai_standin() as openai,
        anosys_standin() as anosys,
        django_server(
            tmp_path,
            settings_module="tests.faults.purge_settings",
            SITE_MEDIA=str(media),
            SITE_FACT=str(fact),
            OPENAI_API_KEY="a key of the stand-in",
            OPENAI_BASE_URL=openai.base_url,
            HTTPS_PROXY=openai.url,
            CHATKIT_RATE_LIMIT="100000/s",
            CHATKIT_ADDRESS_RATE_LIMIT="100000/s",
            **forwarding_to(anosys),
        ) as server,
    ):
        if IS_POSTGRES:
            with psycopg.connect(server.database.url) as connection:
                # Not compressed, or nobody could find in a file what is there.
                connection.execute(
                    "ALTER TABLE observability_turnspans ALTER spans SET STORAGE EXTERNAL"
                )
        yield Site(server, openai, fact, media)


def written(canary: str) -> set[bytes]:
    """As it may stand in a file: as text, as JSON escapes it, and as JSON in JSON does."""
    escaped = json.dumps(canary)[1:-1]
    return {each.encode() for each in (canary, escaped, json.dumps(escaped)[1:-1])}


def places(haystack: bytes, conversations: Iterable[Conversation]) -> list[str]:
    """Where that of which the haystack still has something was said."""
    return [
        place
        for each in conversations
        for place, canary in {**each.canaries, **each.never}.items()
        if any(form in haystack for form in written(canary))
    ]


def all_of(conversations: Iterable[Conversation]) -> list[str]:
    return [place for each in conversations for place in each.canaries]


@pytest.mark.timeout(600)
def test_after_a_purge_no_byte_is_left_of_what_was_said_and_nothing_else_is_gone(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(name: str) -> list[Conversation]:
        with ChatClient(site.server.url).sign_in(name) as person:
            return [site.converse(person, script) for script in LETTERS for _ in range(PER_SCRIPT)]

    purged, held, kept = of("alice"), of("alice"), of("bob")
    for each in held:
        site.hold(each.thread_id)
    everybody = [*purged, *held, *kept]
    assert places(site.tables() + site.files(), everybody) == all_of(everybody)
    assert records(site, "alice") > records(site, "bob") > 0

    told = site.server.manage("purge_threads", "--user", "alice")
    assert f"Kept: {len(held)} threads on hold." in told
    left = site.tables() + site.files()
    assert places(left, purged) == []
    assert places(left, [*held, *kept]) == all_of([*held, *kept])
    # Those of her threads on hold are held with them.
    assert records(site, "alice") == records(site, "bob")
    assert places(site.server.log.encode(), everybody) == []

    site.server.terminate()
    compacted = bytes_of_postgres(site) if IS_POSTGRES else bytes_of_sqlite(site)
    if compacted is None:
        pytest.skip("The columns were proven; the files of this PostgreSQL are out of reach.")
    assert places(compacted, purged) == []
    stored = [place for place in all_of([*held, *kept]) if place != "file"]
    assert places(compacted, [*held, *kept]) == stored
    with capsys.disabled():
        count = len(all_of(purged))
        print(  # noqa: T201
            f"\npurge: 0 of {count} canaries left in {len(compacted):,} bytes of the database;"
            f" all {len(all_of([*held, *kept]))} of others are there"
        )


def records(site: Site, name: str) -> int:
    """What tells when somebody did what: of a purge by user it goes, too."""
    (user,) = site.server.query("select id from auth_user where username = %s", name)
    return sum(
        int(
            site.server.query(
                f"select count(*) n from observability_{table} where owner_key = %s",  # noqa: S608
                f"user:{user['id']}",
            )[0]["n"]
        )
        for table in ("clientevent", "feedback")
    )


def bytes_of_sqlite(site: Site) -> bytes:
    """Of all its files, compacted as docs/privacy.md says."""
    path = Path(site.server.database.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        # While it is open: closing it would take the others away.
        return b"\0".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def bytes_of_postgres(site: Site) -> bytes | None:
    """Of the files of its tables and indexes, written anew; None where they can't be read."""
    with psycopg.connect(site.server.database.url, autocommit=True) as connection:
        # What is common in a column is in the statistics, too, until they are taken anew.
        connection.execute("ANALYZE")
        connection.execute("VACUUM FULL")
        # The old files are emptied at once, and go with this.
        connection.execute("CHECKPOINT")
        row: Any = connection.execute(
            "SELECT current_setting('data_directory'), oid FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
    folder = Path(row[0]) / "base" / str(row[1])
    if not os.access(folder, os.R_OK | os.X_OK):
        return None
    return b"\0".join(each.read_bytes() for each in folder.iterdir() if each.is_file())
