"""What the commands of all apps have in common."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

INTERRUPTED = 130
"""The exit code that a shell gives to what Ctrl-C ended."""
FORGET_SECONDS = 600.0
"""How long an old SQLite may take to forget single words; on a large site, minutes."""


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, our line breaks."""


class ExplainedCommand(BaseCommand):
    """One whose help is laid out for its readers, and that starts at once."""

    # Checks load the URLs, and with them the chat's SDK: two seconds, and nothing of it is needed.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=HelpFormatter, **kwargs)
