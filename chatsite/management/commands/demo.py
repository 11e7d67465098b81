"""The whole project on a bare machine: no key, no network, no question."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from argparse import ArgumentTypeError
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chatsite import demo_turns
from observability.models import Turn

HOST = "127.0.0.1"
PASSWORDS_FILE = settings.VAR_DIR / "demo-passwords.json"


def port_number(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise ArgumentTypeError("a port is a whole number from 1 to 65535")
    return int(value)


class Command(BaseCommand):
    help = (
        "Serves the chat on 127.0.0.1 with an operator, a visitor and some conversations to look "
        "at, all kept in the database for the next time. The demo model answers unless "
        "OPENAI_API_KEY is set."
    )

    # The demo is what the checks would only point out.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=port_number, default=8000, help="the port to serve on (default: 8000)"
        )
        parser.add_argument(
            "--no-serve", action="store_true", help="prepare the database and stop there"
        )

    def handle(self, *, port: int, no_serve: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo is not for production: it needs DJANGO_DEBUG=1.")
        if not no_serve:
            ensure_free(port)
        call_command("migrate", verbosity=0)
        passwords = kept_passwords()
        operator = ensure_user("operator", passwords["operator"], is_staff=True, is_superuser=True)
        visitor = ensure_user("visitor", passwords["visitor"])
        if not Turn.objects.exists():
            self.stdout.write("Making some conversations, through the real endpoint…")
            # Late: it takes two seconds to import, which --help need not wait for.
            from chatkit_endpoint.warm_up import warm_up

            warm_up()
            asyncio.run(demo_turns.run([visitor, operator]))
        if no_serve:
            return
        self.stdout.write(
            f"\n  Chat   http://{HOST}:{port}/        visitor  / {passwords['visitor']}\n"
            f"  Admin  http://{HOST}:{port}/admin/  operator / {passwords['operator']}\n\n"
            "Ctrl-C ends it.\n"
        )
        uvicorn.run(
            "chatsite.asgi:application",
            host=HOST,
            port=port,
            log_config=None,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=3,
        )


def ensure_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} can't be used ({error.strerror}). Try another: make demo PORT=8001"
            ) from error


def kept_passwords() -> dict[str, str]:
    """Random, made once, so that a second run prints what the first one did."""
    if PASSWORDS_FILE.exists():
        passwords: dict[str, str] = json.loads(PASSWORDS_FILE.read_text(encoding="utf-8"))
        return passwords
    passwords = {name: secrets.token_urlsafe(9) for name in ("operator", "visitor")}
    PASSWORDS_FILE.parent.mkdir(exist_ok=True)
    PASSWORDS_FILE.touch(mode=0o600)
    PASSWORDS_FILE.write_text(json.dumps(passwords), encoding="utf-8")
    return passwords


def ensure_user(name: str, password: str, **flags: bool) -> User:
    user, _ = User.objects.get_or_create(username=name, defaults=flags)
    if not user.check_password(password):
        user.set_password(password)
        user.save()
    return user
