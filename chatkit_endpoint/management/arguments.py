"""What the commands have in common: how they explain themselves, and whom they are about."""

from __future__ import annotations

import argparse

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import CommandError, DjangoHelpFormatter


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, our line breaks."""


def account_named(name: str) -> AbstractBaseUser:
    """The account that signs in with this name. Raises CommandError."""
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None
