"""Fill a database with threads and items, and the turns that go with them: some ten items and five
turns to a thread, and to every fiftieth a file.

``python -m benchmarks.conversations DATABASE_URL THREADS MEDIA_FOLDER`` does so in a new database.
"""

# ruff: noqa: S608 (The names in the SQL are ours.)

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from .generate import generate
from .history import TURNS_PER_THREAD
from .site import set_up

AGE = timedelta(days=100)
"""How long ago the latest of it was."""
ATTACHMENT_EVERY = 50
FILE_BYTES = 2_000

_THREADS = """
INSERT INTO chatkit_endpoint_thread
    (key, user_id, tenant, owner_key, title, status, payload, created_at, updated_at)
SELECT thread_id, MIN(user_id), tenant, owner_key, 'About ' || MIN(SUBSTR(prompt, 1, 40)), 'active',
    '{"id": "' || thread_id || '", "title": "About ' || MIN(SUBSTR(prompt, 1, 40)) || '"}',
    MIN(started_at), MAX(started_at)
FROM observability_turn GROUP BY thread_id, tenant, owner_key ORDER BY MIN(id)
"""
# Of each turn the prompt and the first answer: a thought is in no item of its own.
_ITEMS = """
INSERT INTO chatkit_endpoint_threaditem (thread_id, key, type, payload, created_at)
SELECT thread.id, message.item_id,
    CASE message.kind WHEN 'prompt' THEN 'user_message' ELSE 'assistant_message' END,
    '{"id": "' || message.item_id || '", "thread_id": "' || thread.key
        || '", "content": [{"text": "' || message.text || '"}]}',
    message.created_at
FROM observability_message message
JOIN observability_turn turn ON turn.id = message.turn_id
JOIN chatkit_endpoint_thread thread ON thread.key = turn.thread_id
WHERE message.position IN (0, 2) ORDER BY message.id
"""
_ATTACHMENTS = f"""
INSERT INTO chatkit_endpoint_attachment
    (key, thread_id, user_id, tenant, owner_key, name, mime_type, file, payload, created_at)
SELECT 'atc_' || key, id, user_id, tenant, owner_key, 'notes.txt', 'text/plain',
    'chatkit/' || key || '.txt', '{{"name": "notes.txt"}}', created_at
FROM chatkit_endpoint_thread WHERE id % {ATTACHMENT_EVERY} = 0
"""


def converse(threads: int, media: Path) -> None:
    """Write about so many threads, the latest of them :data:`AGE` old, into a migrated database."""
    from django.db import connection
    from django.utils import timezone

    generate(threads * TURNS_PER_THREAD, until=timezone.now() - AGE, shows_progress=True)
    with connection.cursor() as cursor:
        # The last turns are being answered, as they would be in the database of a live site.
        cursor.execute(
            "UPDATE observability_turn SET status = 'interrupted', lease_expires_at = NULL,"
            " ended_at = started_at WHERE status = 'running'"
        )
        for statement in (_THREADS, _ITEMS, _ATTACHMENTS):
            cursor.execute(statement)
        cursor.execute("SELECT file FROM chatkit_endpoint_attachment")
        for (name,) in cursor.fetchall():
            path = media / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"n" * FILE_BYTES)
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def main(database: str, threads: str, media: str) -> None:
    set_up(database)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    converse(int(threads), Path(media))


if __name__ == "__main__":
    main(*sys.argv[1:])
