"""Django's users in the database, for AUTHENTICATION_BACKENDS. Each request asks for its user, so
that is asked by a statement that is worded once, which takes a fifth of the time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth import backends, get_user_model
from django.db import models

from observability.prepared import Param, Select


class ModelBackend(backends.ModelBackend):
    def get_user(self, user_id: Any) -> Any:
        model = get_user_model()
        if _chooses(model._default_manager):
            return super().get_user(user_id)
        user = _one(model, user_id)
        return user if user is not None and self.user_can_authenticate(user) else None


def _chooses(manager: models.Manager[Any]) -> bool:
    """Whether it leaves some users out, perhaps others each time: no wording holds for that."""
    kind: Any = type(manager)
    plain: Any = models.Manager
    return (
        kind.get_queryset is not plain.get_queryset
        or kind.get is not plain.get
        or kind._queryset_class is not models.QuerySet
    )


def _one(model: type[models.Model], pk: Any) -> Any:
    found = _columns(model).first(pk=pk)
    if found is None:
        return None
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(model._default_manager.db, names, found)


@cache
def _columns(model: type[models.Model]) -> Select:
    names = [field.attname for field in model._meta.concrete_fields]
    with_key = model._default_manager.filter(pk=Param("pk", model._meta.pk))
    return Select(with_key.order_by().values_list(*names))
