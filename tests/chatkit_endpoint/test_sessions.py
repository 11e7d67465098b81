"""Sessions are Django's, read by a statement that is worded once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chatkit_endpoint.sessions import SessionStore

pytestmark = pytest.mark.django_db


def a_session(**values: object) -> str:
    """The key of a session that Django itself stored."""
    session = db.SessionStore()
    session.update(values)
    session.create()
    assert session.session_key
    return session.session_key


def test_the_site_has_them() -> None:
    assert settings.SESSION_ENGINE == "chatkit_endpoint.sessions"


def test_a_session_that_django_stored_is_read_in_one_query() -> None:
    for name in ("one", "two"):
        key = a_session(name=name)
        with CaptureQueriesContext(connection) as captured:
            session = SessionStore(key)
            assert session["name"] == name
            assert session.session_key == key
        assert len(captured) == 1


def test_what_it_stores_is_read_by_django() -> None:
    session = SessionStore()
    session["name"] = "value"
    session.save()
    assert db.SessionStore(session.session_key)["name"] == "value"


def test_a_session_is_over_at_its_end() -> None:
    key = a_session(name="value")
    Session.objects.filter(pk=key).update(expire_date=timezone.now() - timedelta(seconds=1))
    session = SessionStore(key)
    assert dict(session.items()) == {}
    assert session.session_key is None


def test_a_key_that_nobody_was_given_is_not_kept() -> None:
    session = SessionStore("a" * 32)
    assert "name" not in session
    assert session.session_key is None


def test_a_session_that_was_tampered_with_is_empty() -> None:
    key = a_session(name="value")
    Session.objects.filter(pk=key).update(session_data="e30:forged:forged")
    assert dict(SessionStore(key).items()) == {}
