from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from django.utils import timezone
from tqdm import tqdm

from chatkit_endpoint.retention import BATCH_SIZE, PurgeSummary, Scope, purge_scope, survey

MAX_DAYS = 36_500
MAX_BATCH_SIZE = 10_000
"""Some builds of SQLite take 32,766 parameters in a statement."""
INTERRUPTED = 130
"""What shells return for Ctrl-C."""


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, our line breaks."""


class Command(BaseCommand):
    help = """\
Deletes conversations for good: threads, their items, their attachments with the files, and
the text in the record of their turns, whose metrics stay. Attachments that were never sent and
the text of turns whose thread is gone already go by the same age and user.

A thread in which an answer is being written is left for the next run. The command may be
interrupted at any time and run again.

  purge_threads --older-than 90 --dry-run    what would go?
  purge_threads --older-than 90              for cron, daily
  purge_threads --user alice                 all that alice has
"""
    # Checks load the URLs, and with them the chat's SDK: two seconds, and nothing of it is needed.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)

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
        parser.add_argument(
            "--dry-run", action="store_true", help="count what would go, and change nothing"
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=BATCH_SIZE,
            metavar="N",
            help="threads in one transaction: fewer let a busy site breathe (default: %(default)s)",
        )

    def handle(self, **options: Any) -> None:
        scope = _scope(options["older_than"], options["user"])
        if not 1 <= options["batch_size"] <= MAX_BATCH_SIZE:
            raise CommandError(f"--batch-size must be from 1 to {MAX_BATCH_SIZE}.")
        if options["dry_run"]:
            found = survey(scope)
            self.stdout.write(f"Would delete {_told(found)}. Nothing was changed.")
            self._say_skipped(found)
            return
        self._purge(scope, options["batch_size"])

    def _purge(self, scope: Scope, batch_size: int) -> None:
        done = PurgeSummary()
        total = survey(scope).rows if sys.stderr.isatty() else None
        with tqdm(total=total, unit=" rows", disable=total is None) as bar:

            def on_batch(batch: PurgeSummary) -> None:
                nonlocal done
                done += batch
                bar.update(batch.rows)

            try:
                purge_scope(scope, batch_size=batch_size, on_batch=on_batch)
            except KeyboardInterrupt:
                bar.close()
                self.stdout.write(f"Deleted so far: {_told(done)}.")
                raise CommandError(
                    "Interrupted: the batch under way was not deleted. Run it again to go on.",
                    returncode=INTERRUPTED,
                ) from None
        self.stdout.write(f"Deleted {_told(done)}.")
        self._say_skipped(done)
        if done.files_left:
            raise CommandError(
                f"{_count(done.files_left, 'file')} could not be deleted; the log says why. Their "
                "attachments are kept, and the next run tries again."
            )

    def _say_skipped(self, summary: PurgeSummary) -> None:
        if summary.skipped:
            self.stdout.write(
                f"Left for the next run: {_count(summary.skipped, 'thread')} with a running turn."
            )


def _scope(days: int | None, name: str | None) -> Scope:
    if days is None and name is None:
        raise CommandError("Say what to purge: --older-than DAYS, --user NAME, or both.")
    if days is not None and not 0 <= days <= MAX_DAYS:
        raise CommandError(f"--older-than must be from 0 to {MAX_DAYS} days.")
    return Scope(
        idle_since=None if days is None else timezone.now() - timedelta(days=days),
        user=None if name is None else _user(name),
    )


def _user(name: str) -> AbstractBaseUser:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None


def _told(summary: PurgeSummary) -> str:
    """``3 threads, 20 items, 1 attachment (1 file) and the text of 9 turns``."""
    return (
        f"{_count(summary.threads, 'thread')}, {_count(summary.items, 'item')}, "
        f"{_count(summary.attachments, 'attachment')} ({_count(summary.files, 'file')}) "
        f"and the text of {_count(summary.turns, 'turn')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
