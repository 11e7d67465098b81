"""Whom things belong to, for what deals with all that somebody has: see, export, erase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from observability.models import ClientEvent, EndpointRequest, Turn

from .conf import conf
from .models import Attachment, Thread

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.http import HttpRequest

RowsT = TypeVar("RowsT", bound=QuerySet[Any])

_OF_USERS = ("user:", "user;")
"""The owner keys of accounts are from the first, and less than the second."""


@dataclass(frozen=True, order=True)
class Owner:
    """A visitor in a tenant: the pair that the store isolates by.

    Raises ValueError for the owner key of nobody, which requests have that were not let in.
    """

    tenant: str
    owner_key: str

    def __post_init__(self) -> None:
        if not self.owner_key:
            raise ValueError("An owner has a key.")

    def own(self, rows: RowsT) -> RowsT:
        """Those of these rows that are the owner's."""
        return rows.filter(tenant=self.tenant, owner_key=self.owner_key)


def owner_key_of(user: AbstractBaseUser) -> str:
    return f"user:{user.pk}"


def tenant_of(request: HttpRequest) -> str:
    """The tenant that the site says a request is for."""
    path = conf().chatkit_tenant
    return str(import_string(path)(request)) if path else ""


def signed_in_owner(request: HttpRequest) -> Owner:
    """Who asks, by the login of Django's own, in the tenant that the request is for."""
    if not request.user.is_authenticated:
        raise ValueError("Nobody is signed in.")
    return Owner(tenant=tenant_of(request), owner_key=owner_key_of(request.user))


def owners_of(user: AbstractBaseUser) -> list[Owner]:
    """An account in each of the tenants that it has left something in."""
    owner_key = owner_key_of(user)
    tenants: set[str] = set()
    for model in (Thread, Attachment, Turn, ClientEvent):
        rows: QuerySet[Any] = model._default_manager.filter(user=user.pk, owner_key=owner_key)
        tenants |= set(rows.order_by().values_list("tenant", flat=True).distinct())
    # They name no account; the index is by the key.
    requests = EndpointRequest.objects.filter(owner_key=owner_key).order_by()
    tenants |= set(requests.values_list("tenant", flat=True).distinct())
    return sorted(Owner(tenant, owner_key) for tenant in tenants)


def owners_without_account() -> Iterator[Owner]:
    """Owners of threads or files whose account is gone."""
    least, end = _OF_USERS
    owners: set[Owner] = set()
    for model in (Thread, Attachment):
        rows: QuerySet[Any] = model._default_manager.filter(
            user=None, owner_key__gte=least, owner_key__lt=end
        )
        pairs = rows.order_by().values_list("tenant", "owner_key").distinct()
        owners |= {Owner(*pair) for pair in pairs}
    return (owner for owner in sorted(owners) if not _has_account(owner))


def _has_account(owner: Owner) -> bool:
    users = get_user_model()._base_manager
    try:
        return users.filter(pk=owner.owner_key.removeprefix("user:")).exists()
    except (ValueError, ValidationError):
        # The key of another kind of account: none that we may judge.
        return True
