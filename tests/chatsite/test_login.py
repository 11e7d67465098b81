"""Signing in: how often one may be wrong, and how a login ends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import F
from django.test import Client
from django.utils import timezone

from chatkit_endpoint.models import RateBucket
from chatsite.sign_in import FAILURES_PER_ADDRESS, FAILURES_PER_NAME

LOGIN = "/accounts/login/"
PASSWORD = "a battery, a staple"
WRONG = "a staple, a battery"
AT_ONCE = 20
TOO_MANY = "Too many attempts to sign in."
NO_MATCH = "That name and password don’t match."


@pytest.fixture(autouse=True)
def _quick(settings: Any) -> None:
    """What is tried here is not how slowly a password is looked at."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password=PASSWORD)


def sign_in(name: str, password: str = WRONG, *, client: Client | None = None, **meta: Any) -> Any:
    data = {"username": name, "password": password}
    return (client or Client()).post(LOGIN, data, **meta)


def fail(name: str, times: int = 1, **meta: Any) -> None:
    for _ in range(times):
        answer = sign_in(name, **meta)
        assert answer.status_code == 200
        assert NO_MATCH in answer.content.decode()


# -- how often one may be wrong ------------------------------------------------------------------


def test_who_was_wrong_too_often_waits_even_with_the_right_password(alice: User) -> None:
    fail("alice", FAILURES_PER_NAME.requests)
    client = Client()
    refused = sign_in("alice", PASSWORD, client=client)
    assert refused.status_code == 429
    assert refused["Content-Type"].startswith("text/html")
    assert 0 < int(refused["Retry-After"]) <= FAILURES_PER_NAME.interval.total_seconds()
    page = refused.content.decode()
    assert TOO_MANY in page
    assert NO_MATCH not in page
    assert "sessionid" not in client.cookies
    RateBucket.objects.update(full_at=F("full_at") - FAILURES_PER_NAME.interval)
    assert sign_in("alice", PASSWORD).status_code == 302


def test_what_a_stranger_sees_is_the_same_for_known_and_unknown_names(alice: User) -> None:
    def seen(name: str) -> list[tuple[int, set[str], str]]:
        answers = [sign_in(name) for _ in range(FAILURES_PER_NAME.requests + 1)]
        return [(each.status_code, set(each.headers), _page(each, name)) for each in answers]

    known, unknown = seen("alice"), seen("nobody")
    assert known == unknown
    assert [status for status, _, _ in known] == [200] * FAILURES_PER_NAME.requests + [429]


def _page(answer: Any, name: str) -> str:
    """Without what tells any two pages apart: the token, and the name that was written."""
    page = answer.content.decode().replace(f'value="{name}"', "")
    return re.sub(r'(name="csrfmiddlewaretoken" value=)"\w+"', r"\1", page)


@pytest.mark.parametrize("spelling", ["ALICE", " alice ", "\uff41lice"])
def test_another_spelling_of_a_name_is_no_other_name(alice: User, spelling: str) -> None:
    fail("alice", FAILURES_PER_NAME.requests)
    assert sign_in(spelling).status_code == 429


def test_a_name_is_counted_from_all_addresses_together(alice: User) -> None:
    for number in range(FAILURES_PER_NAME.requests):
        fail("alice", REMOTE_ADDR=f"192.0.2.{number}")
    assert sign_in("alice", PASSWORD, REMOTE_ADDR="198.51.100.7").status_code == 429
    # That of others isn't.
    User.objects.create_user("bob", password=PASSWORD)
    assert sign_in("bob", PASSWORD).status_code == 302


def test_an_address_is_counted_over_all_names_and_whatever_it_says_of_itself(alice: User) -> None:
    for number in range(FAILURES_PER_ADDRESS.requests):
        fail(f"name{number}", headers={"X-Forwarded-For": f"198.51.100.{number}"})
    refused = sign_in("alice", PASSWORD, headers={"X-Forwarded-For": "203.0.113.9"})
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= FAILURES_PER_ADDRESS.interval.total_seconds()
    assert sign_in("alice", PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302


def test_only_failures_count(alice: User) -> None:
    for _ in range(2 * FAILURES_PER_ADDRESS.requests):
        assert sign_in("alice", PASSWORD).status_code == 302
    for _ in range(2 * FAILURES_PER_ADDRESS.requests):
        assert sign_in("alice", "").status_code == 200
    fail("alice", FAILURES_PER_NAME.requests)


@pytest.mark.django_db(transaction=True)
def test_who_guesses_at_once_has_no_more_guesses() -> None:
    User.objects.create_user("alice", password=PASSWORD)
    barrier = Barrier(AT_ONCE)

    def guess(_number: int) -> int:
        try:
            barrier.wait(30)
            return int(sign_in("alice").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        counted = Counter(pool.map(guess, range(AT_ONCE)))
    guesses = FAILURES_PER_NAME.requests
    assert counted == {200: guesses, 429: AT_ONCE - guesses}


def test_neither_name_nor_address_is_kept(alice: User) -> None:
    fail("alice")
    keys = list(RateBucket.objects.values_list("key", flat=True))
    assert len(keys) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)


def test_the_admin_has_no_other_door(client: Client, admin_user: User) -> None:
    """Its own form would let a password be guessed without a limit."""
    fail("admin", FAILURES_PER_NAME.requests)
    answer: Any = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1] == (f"{LOGIN}?next=%2Fadmin%2F", 302)
    answer = client.post("/admin/login/", {"username": "admin", "password": "password"})
    assert (answer.status_code, answer["Location"]) == (302, LOGIN)
    assert "sessionid" not in client.cookies


# -- how a login ends ----------------------------------------------------------------------------


def expire(client: Client) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Session.objects.filter(pk=client.cookies["sessionid"].value).update(expire_date=past)


def sign_out_elsewhere(client: Client) -> None:
    other = Client()
    other.cookies["sessionid"] = client.cookies["sessionid"].value
    assert other.post("/accounts/logout/").status_code == 302


def change_password_elsewhere(client: Client) -> None:
    """As one does it who fears that somebody else is signed in."""
    other = Client()
    assert sign_in("alice", PASSWORD, client=other).status_code == 302
    new = "a horse, all correct"
    data = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = other.post("/accounts/password_change/", data)
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/password_change/done/")
    assert _list_threads(other).status_code == 200


def deactivate(client: Client) -> None:
    User.objects.update(is_active=False)


def remove(client: Client) -> None:
    User.objects.all().delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "end", [expire, sign_out_elsewhere, change_password_elsewhere, deactivate, remove]
)
def test_whose_login_ended_is_told_so_by_the_chat_and_sent_to_the_login_by_the_page(
    end: Callable[[Client], None],
) -> None:
    User.objects.create_user("alice", password=PASSWORD)
    client = Client()
    assert sign_in("alice", PASSWORD, client=client).status_code == 302
    assert _list_threads(client).status_code == 200
    end(client)
    answer = _list_threads(client)
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["error"]["code"] == "unauthenticated"
    page: Any = client.get("/")
    assert (page.status_code, page["Location"]) == (302, f"{LOGIN}?next=/")


def _list_threads(client: Client) -> Any:
    return client.post(
        "/chatkit", {"type": "threads.list", "params": {}}, content_type="application/json"
    )
