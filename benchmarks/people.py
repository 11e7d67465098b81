"""A new database with people who have signed in, by an authentication backend of that dotted path:
``python -m benchmarks.people DATABASE_URL N BACKEND``.

Prints the keys of their sessions as JSON.
"""

from __future__ import annotations

import json
import sys

from .site import set_up


def sign_in(people: int, backend: str) -> list[str]:
    """Migrate, make so many users, and sign each of them in."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    keys = []
    for number in range(people):
        client = Client()
        client.force_login(User.objects.create(username=f"person{number}"), backend)
        keys.append(client.cookies[settings.SESSION_COOKIE_NAME].value)
    return keys


if __name__ == "__main__":
    set_up(sys.argv[1])
    sys.stdout.write(json.dumps(sign_in(int(sys.argv[2]), sys.argv[3])))
