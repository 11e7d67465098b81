"""Users are Django's, asked for by a statement that is worded once."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.auth.backends import ModelBackend as DjangoBackend
from django.contrib.auth.models import User, UserManager
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext

from chatkit_endpoint.backends import ModelBackend, _chooses

pytestmark = pytest.mark.django_db


def test_the_site_has_it_and_signs_in_by_it(client: Client) -> None:
    assert settings.AUTHENTICATION_BACKENDS == ["chatkit_endpoint.backends.ModelBackend"]
    User.objects.create_user("alice", password="correct horse")
    assert client.login(username="alice", password="correct horse")
    assert not client.login(username="alice", password="wrong horse")


def test_it_gives_the_users_that_django_s_gives_in_one_query() -> None:
    assert not _chooses(User._default_manager)
    for name in ("alice", "bob"):
        pk = User.objects.create_user(name, f"{name}@example.com", "correct horse").pk
        with CaptureQueriesContext(connection) as captured:
            user = ModelBackend().get_user(pk)
        assert len(captured) == 1
        expected = DjangoBackend().get_user(pk)
        assert expected is not None
        for field in User._meta.concrete_fields:
            assert getattr(user, field.attname) == getattr(expected, field.attname)
        assert not user.get_deferred_fields()
        assert (user._state.adding, user._state.db) == (False, "default")
        assert user.get_session_auth_hash() == expected.get_session_auth_hash()


def test_nobody_is_nobody() -> None:
    assert ModelBackend().get_user(0) is None


def test_who_is_not_active_is_nobody() -> None:
    pk = User.objects.create_user("alice", is_active=False).pk
    assert ModelBackend().get_user(pk) is None


def test_a_manager_that_hides_some_in_its_own_get_is_asked() -> None:
    class Hiding(models.QuerySet[User]):
        def get(self, *args: object, **kwargs: object) -> User:
            raise self.model.DoesNotExist

    class OfItsOwn(UserManager[User]):
        def get(self, *args: object, **kwargs: object) -> User:
            raise self.model.DoesNotExist

    assert _chooses(models.Manager.from_queryset(Hiding)())
    assert _chooses(OfItsOwn())


def test_a_manager_that_chooses_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"alice"}

    def get_queryset(manager: UserManager[User]) -> models.QuerySet[User]:
        return models.Manager.get_queryset(manager).filter(username__in=shown)

    monkeypatch.setattr(UserManager, "get_queryset", get_queryset)
    pk = User.objects.create_user("alice").pk
    assert ModelBackend().get_user(pk) is not None
    shown.clear()
    assert ModelBackend().get_user(pk) is None
