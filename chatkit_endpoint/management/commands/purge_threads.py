from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from chatkit_endpoint.management.arguments import account_named
from chatkit_endpoint.models import Thread
from chatkit_endpoint.owners import owners_of
from chatkit_endpoint.retention import BATCH_SIZE, PurgeSummary
from chatkit_endpoint.scopes import Scope, purge_scope, survey
from observability.management.base import FORGET_SECONDS, INTERRUPTED, ExplainedCommand
from observability.models import Turn
from observability.search import forget_deleted

MAX_DAYS = 36_500
MAX_BATCH_SIZE = 10_000
"""Some builds of SQLite take 32,766 parameters in a statement."""


class Command(ExplainedCommand):
    help = """\
Deletes conversations for good: threads, their items, their attachments with the files, and
the text in the record of their turns, whose metrics stay. Attachments that were never sent and
the text of turns whose thread is gone already go by the same age and user; of a user also
client events, ratings and requests go, which hold no text.

A thread in which an answer is being written is left for the next run, one on hold until the
hold is released. The command may be interrupted at any time and run again.

  purge_threads --older-than 90 --dry-run    what would go?
  purge_threads --older-than 90              for cron, daily
  purge_threads --user alice                 all that alice has
  purge_threads --thread thr_0123            one conversation
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=int,
            metavar="DAYS",
            help="only what nobody has written in for so many days; 0 means until now",
        )
        parser.add_argument(
            "--user", metavar="NAME", help="only what belongs to the user of this name"
        )
        parser.add_argument("--thread", metavar="ID", help="only the thread of this id")
        parser.add_argument(
            "--dry-run", action="store_true", help="count what would go, and change nothing"
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=BATCH_SIZE,
            metavar="N",
            help="threads in one transaction, at most (default: %(default)s)",
        )

    def handle(self, **options: Any) -> None:
        scopes = _scopes(options["older_than"], options["user"], options["thread"])
        if not 1 <= options["batch_size"] <= MAX_BATCH_SIZE:
            raise CommandError(f"--batch-size must be from 1 to {MAX_BATCH_SIZE}.")
        if options["dry_run"]:
            found = sum(map(survey, scopes), PurgeSummary())
            self.stdout.write(f"Would delete {_told(found)}. Nothing was changed.")
            self._say_what_is_left(found)
            return
        self._purge(scopes, options["batch_size"])

    def _purge(self, scopes: list[Scope], batch_size: int) -> None:
        done = PurgeSummary()
        total = sum(survey(scope).rows for scope in scopes) if sys.stderr.isatty() else None
        with tqdm(total=total, unit=" rows", disable=total is None) as bar:

            def on_batch(batch: PurgeSummary) -> None:
                nonlocal done
                done += batch
                bar.update(batch.rows)

            try:
                for scope in scopes:
                    purge_scope(scope, batch_size=batch_size, on_batch=on_batch)
                forget_deleted(FORGET_SECONDS)
            except KeyboardInterrupt:
                bar.close()
                self.stdout.write(f"Deleted so far: {_told(done)}.")
                raise CommandError(
                    "Interrupted: the batch under way was not deleted. Run it again to go on.",
                    returncode=INTERRUPTED,
                ) from None
        self.stdout.write(f"Deleted {_told(done)}.")
        self._say_what_is_left(done)
        if done.files_left:
            raise CommandError(
                f"{_count(done.files_left, 'file')} could not be deleted; the log says why. Their "
                "attachments are kept, and the next run tries again."
            )

    def _say_what_is_left(self, summary: PurgeSummary) -> None:
        if summary.skipped:
            self.stdout.write(
                f"Left for the next run: {_count(summary.skipped, 'thread')} with a running turn."
            )
        if summary.held:
            self.stdout.write(f"Kept: {_count(summary.held, 'thread')} on hold.")


def _scopes(days: int | None, name: str | None, thread: str | None) -> list[Scope]:
    if days is None and name is None and thread is None:
        raise CommandError(
            "Say what to purge: --older-than DAYS, --user NAME, --thread ID, or several of them."
        )
    if days is not None and not 0 <= days <= MAX_DAYS:
        raise CommandError(f"--older-than must be from 0 to {MAX_DAYS} days.")
    if thread is not None and not _is_known(thread):
        raise CommandError(f"There is no thread {thread!r}.")
    idle_since = None if days is None else timezone.now() - timedelta(days=days)
    if name is None:
        return [Scope(idle_since=idle_since, thread=thread)]
    owners = owners_of(account_named(name))
    return [Scope(idle_since=idle_since, owner=owner, thread=thread) for owner in owners]


def _is_known(thread: str) -> bool:
    """Also one that is gone but for the record of its turns: who types a wrong id shall know."""
    return (
        Thread.objects.filter(key=thread).exists() or Turn.objects.filter(thread_id=thread).exists()
    )


def _told(summary: PurgeSummary) -> str:
    """``3 threads, 20 items, 1 attachment (1 file) and the text of 9 turns``."""
    records = f", {_count(summary.records, 'record')} of use" if summary.records else ""
    return (
        f"{_count(summary.threads, 'thread')}, {_count(summary.items, 'item')}, "
        f"{_count(summary.attachments, 'attachment')} ({_count(summary.files, 'file')})"
        f"{records} and the text of {_count(summary.turns, 'turn')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
