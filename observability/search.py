"""Full-text search over what was said in turns, by an index that the database itself keeps.

SQLite has an FTS5 table that refers to the turns and that triggers keep; PostgreSQL has a generated
column, unknown to the model, with a GIN index: an expression would be computed anew for each row
that a list walks past, which takes fifty times as long. Both are made by a migration with
:func:`install`, and follow every change of a turn's prompt and response: what a purge takes, no
search finds. Of what is encrypted they hold nothing.

What is written without spaces, as in Japanese and Chinese, counts as one word up to the next mark:
it is found by its beginning. PostgreSQL tells small letters from capitals by the database's locale,
and accents matter to it; SQLite looks over both.
"""

# ruff: noqa: S608 (The names in the SQL are ours; what is looked for goes as a parameter.)

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import BooleanField, F, Func, Q, TextField, Value
from django.db.models.sql.compiler import SQLCompiler

from .database import storable
from .encryption import MARK

TABLE = "observability_turn"
WORDS = "observability_turn_words"
INDEXED_CHARS = 20_000
"""PostgreSQL indexes so much of each text: it refuses a row of too many words."""
SEPARATORS = "./:-_+@&<>~'=?"
"""Of what these join PostgreSQL would make an address, a path, a tag or a number; SQLite, words."""


def _readable(column: str) -> str:
    """In SQL, a text as it is indexed: of what is encrypted, nothing."""
    return f"CASE WHEN substr({column}, 1, {len(MARK)}) = '{MARK}' THEN '' ELSE {column} END"


def _both(row: str) -> tuple[str, str]:
    return _readable(f"{row}.prompt"), _readable(f"{row}.response")


_OLD, _NEW = ", ".join(_both("old")), ", ".join(_both("new"))
_ADD = f"INSERT INTO {WORDS} (rowid, prompt, response) VALUES (new.id, {_NEW})"
_REMOVE = (
    f"INSERT INTO {WORDS} ({WORDS}, rowid, prompt, response) VALUES ('delete', old.id, {_OLD})"
)
SQLITE = (
    f"""CREATE VIRTUAL TABLE {WORDS} USING fts5(
        prompt, response, content='{TABLE}', content_rowid='id', columnsize=0,
        tokenize='unicode61 remove_diacritics 2'
    )""",
    f"CREATE TRIGGER {WORDS}_insert AFTER INSERT ON {TABLE} BEGIN {_ADD}; END",
    f"CREATE TRIGGER {WORDS}_delete AFTER DELETE ON {TABLE} BEGIN {_REMOVE}; END",
    f"""CREATE TRIGGER {WORDS}_update AFTER UPDATE OF prompt, response ON {TABLE}
    WHEN ({_OLD}) <> ({_NEW}) BEGIN {_REMOVE}; {_ADD}; END""",
    # Not 'rebuild', which would read the texts as they are stored.
    f"""INSERT INTO {WORDS} (rowid, prompt, response)
    SELECT turn.id, {", ".join(_both("turn"))} FROM {TABLE} turn""",
)


MERGED_PAGES = 500
"""How much of its index SQLite merges in one step."""
QUERY_CHARS = 500
"""What is read of a search."""
FEW = 1_000
"""So many matches SQLite is given by their keys."""
MANY = 100_000
"""So many it holds at once; beyond that it looks into the index for each turn."""
SHARE, SHARE_OF_PHRASE = 1 / 50, 1 / 10
"""Of how many turns PostgreSQL, by its own estimate, is given those that match by their keys. Of
more it walks through the turns, the newest first, until there are enough. It takes a phrase to be
as frequent as its words are together."""


_QUOTES = str.maketrans(dict.fromkeys("“”„«»「」", '"'))
"""As people write them, and as our own help does."""


@dataclass(frozen=True)
class Part:
    """Words that must follow each other."""

    text: str
    is_open: bool = False
    """Whether the last word may go on."""


def parts(text: str) -> list[Part]:
    """What somebody looks for: words, and phrases in quotes. The last word may be a beginning.

    Nothing in it is a command; what has no letter or digit says nothing and is left out.
    """
    text = storable(text)[:QUERY_CHARS].translate(_QUOTES)
    found = [
        Part(phrase or word, is_open=_may_go_on(word) and each.end() == len(text))
        for each in re.finditer(r'"([^"]*)"|([^\s"]+)', text)
        for phrase, word in [each.groups(default="")]
    ]
    return [part for part in found if re.search(r"[^\W_]", part.text)]


def _may_go_on(word: str) -> bool:
    """Whether few enough words begin like this: four letters do or, in Japanese, two."""
    return len(word.encode()) > 3


_PHRASE = "phraseto_tsquery('simple', %(expressions)s)"
_BEGINNING = f"(nullif({_PHRASE}::text, '') || ':*')::tsquery"


def _vector() -> str:
    """What PostgreSQL's column is generated from."""
    separators, spaces = SEPARATORS.replace("'", "''"), " " * len(SEPARATORS)
    texts = " || ' ' || ".join(
        f"left({_readable(column)}, {INDEXED_CHARS})" for column in ("prompt", "response")
    )
    return f"to_tsvector('simple', translate({texts}, '{separators}', '{spaces}'))"


def install(editor: BaseDatabaseSchemaEditor) -> None:
    """Make the index, of all turns there are."""
    if editor.connection.vendor == "sqlite":
        for statement in SQLITE:
            editor.execute(statement, params=None)
        if sqlite3.sqlite_version_info >= (3, 42):
            # Or words that are deleted would stay in the file for a while.
            editor.execute(f"INSERT INTO {WORDS} ({WORDS}, rank) VALUES ('secure-delete', 1)")
    else:
        generated = f"words tsvector GENERATED ALWAYS AS ({_vector()}) STORED"
        editor.execute(f"ALTER TABLE {TABLE} ADD COLUMN {generated}", params=None)
        editor.execute(f"CREATE INDEX {WORDS} ON {TABLE} USING gin (words)", params=None)


def uninstall(editor: BaseDatabaseSchemaEditor) -> None:
    """Undo :func:`install`."""
    if editor.connection.vendor == "sqlite":
        for event in ("insert", "delete", "update"):
            editor.execute(f"DROP TRIGGER {WORDS}_{event}")
        editor.execute(f"DROP TABLE {WORDS}")
    else:
        editor.execute(f"ALTER TABLE {TABLE} DROP COLUMN words")


def forget_deleted(seconds: float) -> None:
    """Before SQLite 3.42, take single words of what was deleted out of the index: no search finds
    them, but they are in its parts until these are merged. At most so many seconds, in short steps.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "sqlite" or sqlite3.sqlite_version_info >= (3, 42):
        return
    until = time.monotonic() + seconds
    with connection.cursor() as cursor:
        pages = -MERGED_PAGES  # Less than zero: all parts into one.
        while time.monotonic() < until:
            before = connection.connection.total_changes
            cursor.execute(f"INSERT INTO {WORDS} ({WORDS}, rank) VALUES ('merge', %s)", (pages,))
            if connection.connection.total_changes - before < 2:
                return
            pages = MERGED_PAGES


def words(text: str, *, using: str, at_most: int | None = None) -> Q:
    """The condition that a turn's prompt and response have all that is looked for.

    With ``at_most``, only of the newest turns that do so many, where the index can tell which.
    """
    wanted = parts(text)
    if not wanted:
        return Q(pk__in=())
    connection = connections[using]
    if connection.vendor != "sqlite":
        return _where_postgres_finds(wanted, connection, at_most)
    query = " ".join(f'"{part.text}"' for part in wanted)
    keys = _newest(connection, query)
    if wanted[-1].is_open and len(keys) <= FEW:
        # A word that is in many texts stands for itself: all that begin like it would take long.
        query += " *"
        keys = _newest(connection, query)
    if at_most is not None:
        return Q(pk__in=keys[: at_most + 1])
    if len(keys) <= FEW:
        return Q(pk__in=keys)
    return Q(_is_among(query) if _are_at_most(connection, query, MANY) else _is_found(query))


def _where_postgres_finds(
    wanted: list[Part], connection: BaseDatabaseWrapper, at_most: int | None
) -> Q:
    """PostgreSQL takes any word that it knows nothing of to be in some turns of a thousand, and
    walks through all of them for the few that have it. So of what is rare it is given the keys.
    """
    from .models import Turn

    share = SHARE_OF_PHRASE if any(_is_phrase(part) for part in wanted) else SHARE

    matching = Turn.objects.using(connection.alias).filter(_matches(wanted)).order_by()
    sql, parameters = matching.values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        estimated = cursor.fetchone()[0][0]["Plan"]["Plan Rows"]
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (TABLE,))
        if estimated > max(FEW, cursor.fetchone()[0] * share):
            return Q(_matches(wanted))
        limit = FEW if at_most is None else at_most
        # OFFSET 0: first all matches, by their index, then the newest.
        cursor.execute(
            f"SELECT pk FROM ({sql} OFFSET 0) found ORDER BY pk DESC LIMIT %s",
            (*parameters, limit + 1),
        )
        keys = [key for (key,) in cursor.fetchall()]
    if at_most is not None or len(keys) <= limit:
        return Q(pk__in=keys)
    return Q(_matches(wanted))


def _is_among(query: str) -> Func:
    # The plus: through the turns, in their order, and not through the matches.
    return Func(
        F("pk"),
        Value(query),
        template="+%(expressions)s)",
        arg_joiner=f" IN (SELECT rowid FROM {WORDS} WHERE {WORDS} MATCH ",
        output_field=BooleanField(),
    )


def _is_found(query: str) -> Func:
    return Func(
        Value(query),
        F("pk"),
        template=f"EXISTS (SELECT 1 FROM {WORDS} WHERE {WORDS} MATCH %(expressions)s)",
        arg_joiner=f" AND {WORDS}.rowid = ",
        output_field=BooleanField(),
    )


def _are_at_most(connection: BaseDatabaseWrapper, query: str, number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {WORDS} WHERE {WORDS} MATCH %s LIMIT 1 OFFSET %s",
            (query, number),
        )
        return cursor.fetchone() is None


def _newest(connection: BaseDatabaseWrapper, query: str) -> list[int]:
    """The keys of the newest turns that match; one more than FEW if they are many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT rowid FROM {WORDS} WHERE {WORDS} MATCH %s ORDER BY rowid DESC LIMIT %s",
            (query, FEW + 1),
        )
        return [key for (key,) in cursor.fetchall()]


def _matches(wanted: list[Part]) -> Func:
    """PostgreSQL's condition, on the column that is indexed."""
    phrases = [
        Func(
            Value(_separated(part)),
            template=_BEGINNING if part.is_open else _PHRASE,
            output_field=TextField(),
        )
        for part in wanted
    ]
    query = Func(
        *phrases, template="(%(expressions)s)", arg_joiner=" && ", output_field=TextField()
    )
    return Func(
        _Words(F("prompt")),
        query,
        template="%(expressions)s",
        arg_joiner=" @@ ",
        output_field=BooleanField(),
    )


class _Words(Func):
    """The generated column, beside a column that the model knows."""

    output_field = TextField()

    def as_sql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:  # type: ignore[override]
        sql, parameters = compiler.compile(self.source_expressions[0])
        return f"{sql.rpartition('.')[0]}.words", parameters


def _separated(part: Part) -> str:
    return part.text.translate(str.maketrans(SEPARATORS, " " * len(SEPARATORS)))


def _is_phrase(part: Part) -> bool:
    return len(_separated(part).split()) > 1
