"""Where an account goes, its conversations go: in the admin or by code, one or many at once."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import pre_delete

from .owners import Owner, owners_of
from .scopes import purge_owner

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger(__name__)


def watch_accounts() -> None:
    """Listen for deletions of the site's user model, and of its proxies, which have own signals.

    Not of every model: what somebody listens for can't be deleted fast.
    """
    account = get_user_model()
    for model in apps.get_models():
        if model._meta.concrete_model is account:
            pre_delete.connect(_forget, sender=model, dispatch_uid="chatkit_endpoint.forget")


def _forget(sender: Any, instance: AbstractBaseUser, using: str, **kwargs: Any) -> None:
    """Purge when the deletion is sure. Now is the last moment to see what is the account's."""
    for owner in owners_of(instance):
        transaction.on_commit(partial(_purge, owner), using=using)


def _purge(owner: Owner) -> None:
    try:
        purge_owner(owner)
    except Exception as error:
        # The account is gone, and other owners wait to be purged: the worker's sweep tries again.
        # The kind alone: the text of an exception may quote anything.
        logger.error("A deleted account was not purged yet: %s", type(error).__name__)
