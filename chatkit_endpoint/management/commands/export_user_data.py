from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser
from django.utils.text import get_valid_filename
from tqdm import tqdm

from chatkit_endpoint.management.arguments import account_named
from chatkit_endpoint.owners import owners_of
from observability.management.base import ExplainedCommand

if TYPE_CHECKING:
    from chatkit_endpoint.personal_data import Export


class Command(ExplainedCommand):
    help = """\
Writes all that is held on a person into one ZIP archive: conversations, their attachments with
the files, the record of turns with text, steps and facts, client events, ratings and requests.
JSON Lines, explained by the README.txt in it. Nothing is changed.

  export_user_data alice                        chat-data-alice.zip, here
  export_user_data alice --output /srv/exports  the same, there
  export_user_data alice --output a.zip         under this name
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the name that the person signs in with")
        parser.add_argument(
            "--output",
            type=Path,
            default=Path(),
            metavar="PATH",
            help="a folder that is there, or the archive itself, which must not be there",
        )

    def handle(self, **options: Any) -> None:
        from chatkit_endpoint.personal_data import Export

        account = account_named(options["name"])
        path = _place(options["output"], account.get_username())
        export = Export(owners_of(account), account.get_username())
        shows_bar = sys.stderr.isatty()
        total = export.count() if shows_bar else None
        with tqdm(total=total, unit=" rows", disable=not shows_bar) as bar:
            size = _write(_told(export, bar), path)
        self.stdout.write(f"Wrote {path}: {export.rows:,} rows, {size:,} bytes.")
        if export.files_lost:
            raise CommandError(
                f"Files that could not be read: {export.files_lost:,}; the log says why. The "
                "archive is whole but for them, and its attachments.jsonl tells which they are."
            )


def _told(export: Export, bar: tqdm[Any]) -> Iterator[bytes]:
    for piece in export:
        bar.update(export.rows - bar.n)
        yield piece


def _place(output: Path, name: str) -> Path:
    path = output / f"chat-data-{get_valid_filename(name)}.zip" if output.is_dir() else output
    if path.exists():
        raise CommandError(f"{path} is there already. Move it, or name another with --output.")
    return path


def _write(pieces: Iterable[bytes], path: Path) -> int:
    """Write the archive, under its name only when it is whole. Returns its size in bytes."""
    part = path.with_name(f"{path.name}.part")
    try:
        # For its owner's eyes alone, from the first byte on.
        part.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise CommandError(f"{part} is there: an export is under way, or broke off.") from None
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}.") from error
    try:
        with part.open("wb") as file:
            size = sum(file.write(piece) for piece in pieces)
        part.rename(path)
    except BaseException:
        part.unlink()
        raise
    return size
