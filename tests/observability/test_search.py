"""Full-text search over what was said in turns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from observability import search
from observability.models import Turn
from observability.retention import purge_text
from observability.search import forget_deleted
from tests.factories import make_operator, make_turn, make_user

pytestmark = pytest.mark.django_db

LIST = "/admin/observability/turn/"


def found(text: str, *, with_content: bool = True, **more: Any) -> set[str]:
    """The prompts of the turns that a search finds."""
    turns = Turn.objects.search(text, with_content=with_content, **more)
    return set(turns.values_list("prompt", flat=True))


@pytest.fixture(params=["keys", "set", "look"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which SQLite finds few, many or very many; PostgreSQL has one for all."""
    if request.param != "keys":
        monkeypatch.setattr(search, "FEW", 0)
    if request.param == "look":
        monkeypatch.setattr(search, "MANY", 0)
    way: str = request.param
    return way


# -- what is looked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("landlord", {"My landlord is cold."}),
        ("LANDLORD cold", {"My landlord is cold."}),
        ("landlord warm", set()),
        ("radiator", {"My landlord is cold."}),
        ('"landlord is"', {"My landlord is cold."}),
        ('"is landlord"', set()),
        ("“landlord is”", {"My landlord is cold."}),
        ("„is landlord“", set()),
        ("«is landlord»", set()),
        ("mail@example.com", {"Write to mail@example.com/inbox"}),
        ("inbox", {"Write to mail@example.com/inbox"}),
        ("example", {"Write to mail@example.com/inbox"}),
        ("übergrösse", {"Übergröße? übergrösse!"}),
        ("返金について", {"返金について教えて"}),
    ],
)
def test_words_and_phrases_are_found(way: str, text: str, prompts: set[str]) -> None:
    make_turn("My landlord is cold.", "Turn the <b>radiator</b> on.")
    make_turn("Write to mail@example.com/inbox", "Done.")
    make_turn("Übergröße? übergrösse!", "Ja.")
    make_turn("返金について教えて", "はい。")
    assert found(text) == prompts


def test_the_last_word_may_be_a_beginning_and_only_the_last() -> None:
    make_turn("My refrigerator hums.", "Indeed.")
    assert found("refrig")
    assert found("my refrig")
    assert found('"my refrig"') == set()
    assert found("refrig my") == set()


def test_three_letters_are_a_word_and_no_beginning() -> None:
    make_turn("My refrigerator hums.", "Indeed.")
    assert found("ref") == set()


@pytest.mark.parametrize(
    "text",
    [
        '"',
        '""',
        '" "',
        "-",
        "*",
        "+",
        "' OR 1=1 --",
        "NEAR(a b)",
        "AND",
        "a OR",
        "prompt:hello",
        "{prompt}:x",
        "^x",
        "%s %(x)s %",
        "x:* & !y | (z",
        "a <-> b",
        "\\",
        "\x00",
        "he\x00llo",
        "\ud800",
        "😀",
        "(" * 400,
        "a " * 400,
        "x" * 2_000,
        "<b>",
    ],
)
def test_nothing_that_is_typed_is_a_command_or_an_error(way: str, text: str) -> None:
    make_turn("Nobody types this.", "No.")
    assert found(text) == set()


def test_what_says_nothing_is_left_out() -> None:
    make_turn("hello there", "Hi.")
    assert found("hello - 😀 * there") == {"hello there"}


def test_an_empty_search_narrows_nothing() -> None:
    make_turn("one", "two")
    assert found("  ") == {"one"}


# -- ids and names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["trace_id", "thread_id", "session_id", "request_id"])
@pytest.mark.parametrize("with_content", [True, False])
def test_an_id_finds_what_bears_it_and_nothing_that_mentions_it(
    column: str, with_content: bool
) -> None:
    value = "0123456789abcdef0123456789abcdef"
    bearer: dict[str, Any] = {column: value}
    make_turn("bears it", **bearer)
    make_turn(f"mentions {value}")
    assert found(value, with_content=with_content) == {"bears it"}


def test_the_name_of_a_user_finds_their_turns() -> None:
    make_turn("by vera", user=make_user("vera"))
    make_turn("by verana", user=make_user("verana"))
    assert found("vera", with_content=False) == {"by vera"}
    assert found("veran", with_content=False) == {"by verana"}
    assert found("ver", with_content=False) == {"by vera", "by verana"}


def test_what_was_said_comes_before_the_beginning_of_a_name() -> None:
    make_turn("by anybody", user=make_user("verandah-fan"))
    assert found("verandah") == {"by anybody"}
    make_turn("a verandah", user=make_user("nina"))
    assert found("verandah") == {"a verandah"}


def test_without_the_permission_no_text_is_searched() -> None:
    make_turn("secret")
    assert found("secret", with_content=False) == set()


def test_the_list_searches_text_only_for_who_may_read_it(client: Client) -> None:
    make_turn("secret word")
    for permissions, prompts in (
        (("observability.view_turn",), 0),
        (("observability.view_turn", "observability.view_content"), 1),
    ):
        client.force_login(make_operator(*permissions, username=f"with-{len(permissions)}"))
        assert client.get(LIST, {"q": "secret"}).context["cl"].result_count == prompts


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_an_export_has_all_that_a_search_finds(
    transactional_db: None, async_client: Any, form: str
) -> None:
    from asgiref.sync import sync_to_async

    from observability.admin import turns as admin_turns

    def prepare() -> None:
        for number in range(4):
            make_turn(f"word {number}", age=timedelta(minutes=number))

    await sync_to_async(prepare)()
    operator = await sync_to_async(make_operator)()
    await async_client.aforce_login(operator)
    before = admin_turns.FOUND_AT_MOST
    admin_turns.FOUND_AT_MOST = 2
    try:
        response = await async_client.get(f"{LIST}export/{form}/", {"q": "word"})
        text = "".join([part.decode() async for part in response.streaming_content])
        assert all(f"word {number}" in text for number in range(4))
        listed = (await async_client.get(LIST, {"q": "word"})).context["cl"]
        assert (listed.result_count, listed.paginator.is_capped) == (2, True)
    finally:
        admin_turns.FOUND_AT_MOST = before


def test_at_most_so_many_are_the_newest() -> None:
    for age in (3, 2, 1):
        make_turn(f"word {age}", age=timedelta(minutes=age))
    newest = Turn.objects.search("word", with_content=True, at_most=1)
    assert next(iter(newest)).prompt == "word 1"


@pytest.mark.parametrize("with_content", [True, False])
def test_the_api_searches_text_only_for_who_may_read_it(client: Client, with_content: bool) -> None:
    turn = make_turn("secret word", thread_id="thr_1")
    permissions = ["observability.view_turn"] + ["observability.view_content"] * with_content
    client.force_login(make_operator(*permissions))

    def listed(text: str) -> list[str]:
        answer = client.get("/observability/api/turns/", {"search": text})
        return [each["trace_id"] for each in answer.json()["results"]]

    assert listed("secret") == [turn.trace_id] * with_content
    assert listed("thr_1") == [turn.trace_id]
    assert listed("nothing") == []


# -- the index follows -----------------------------------------------------------------------------


def test_the_index_follows_every_change_of_a_text(way: str) -> None:
    turn = make_turn("apple", "banana")
    turn.response = "cherry"
    turn.save()
    assert found("cherry")
    assert not found("banana")
    Turn.objects.filter(pk=turn.pk).update(prompt="damson")
    assert found("damson")
    assert not found("apple")
    turn.delete()
    assert not found("damson")
    assert not found("cherry")


def test_a_purge_takes_the_words_out_of_the_index() -> None:
    make_turn("apple", "banana")
    Turn.objects.update(prompt="", response="")
    if connection.vendor == "sqlite":
        assert words_in_the_index() == set()
    assert not found("apple")


def test_what_is_written_besides_leaves_the_index_alone() -> None:
    turn = make_turn("apple", "banana")
    Turn.objects.update(feedback=Turn.Feedback.POSITIVE)
    turn.delete()
    if connection.vendor == "sqlite":
        assert words_in_the_index() == set()
    make_turn("apple")
    assert found("apple")


def words_in_the_index() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE VIRTUAL TABLE temp.words USING"
            " fts5vocab('main', 'observability_turn_words', 'row')"
        )
        try:
            cursor.execute("SELECT term FROM temp.words")
            return {term for (term,) in cursor.fetchall()}
        finally:
            cursor.execute("DROP TABLE temp.words")


@pytest.mark.parametrize(
    "text",
    [
        "word " * 400_000,
        " ".join(map(str, range(300_000))),
        "x" * 3_000_000,
        "a-" * 500_000,
        "/a" * 500_000,
        "<a " * 500_000,
        "返金" * 300_000,
        " ".join(chr(0x20000 + number) for number in range(40_000)),
    ],
    ids=["words", "numbers", "letters", "hyphens", "paths", "tags", "japanese", "wide"],
)
def test_no_text_is_too_long_to_be_kept(text: str) -> None:
    turn = make_turn("begins", "")
    Turn.objects.filter(pk=turn.pk).update(prompt=text, response=text)
    make_turn(f"needle {text}", text)
    assert Turn.objects.search("needle", with_content=True).count() == 1


# -- the migration ---------------------------------------------------------------------------------


@pytest.fixture
def back() -> Iterator[None]:
    yield
    call_command("migrate", "observability", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_both_ways_and_finds_what_is_there(back: None) -> None:
    make_turn("apple")
    call_command("migrate", "observability", "0002", verbosity=0)
    make_turn("banana")
    call_command("migrate", "observability", verbosity=0)
    assert found("apple")
    assert found("banana")


@pytest.mark.django_db(transaction=True)
def test_a_flush_empties_the_index() -> None:
    make_turn("apple")
    call_command("flush", interactive=False, verbosity=0)
    assert not found("apple")
    make_turn("apple again")
    assert found("apple") == {"apple again"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="It is an index of SQLite's own.")
def test_words_of_what_was_purged_leave_the_index_too() -> None:
    for number in range(30):
        make_turn(f"ocelot {number}", "narwhal")
    purge_text(Turn.objects.all())
    forget_deleted(10)
    with connection.cursor() as cursor:
        cursor.execute("SELECT block FROM observability_turn_words_data")
        blocks = b"".join(block for (block,) in cursor.fetchall())
    assert b"ocelot" not in blocks
    assert b"narwhal" not in blocks
