"""Encryption at rest: what was said is written so that only the keys of the settings open it.

Off unless there are keys. The columns are plain text in both cases: an encrypted value begins with
MARK, all else is taken as it stands, so it may be switched on while the site runs; the command
``rotate_encryption`` does the rest. A text that looks like ours but was only typed is told apart by
a sign before it, which reading takes off again: nobody has the site open what they wrote.

What no key opens raises :class:`UndecryptableError` where it is read; only lists, which read the
:func:`beginning` of a text, say so in words and go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Case, F, Value, When
from django.db.models.functions import Left
from django.db.models.lookups import Exact
from django.utils.translation import gettext

from .conf import conf

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from django.db.models.expressions import Combinable

    _TextField = models.TextField[str | Combinable, str]
else:
    _TextField = models.TextField

SETTING = "OBSERVABILITY_ENCRYPTION_KEYS"
MARK = "fernet:"
"""What encrypted values begin with; the rest is a Fernet token."""
_LOOKS_LIKE_OURS = re.compile(rf"=*{MARK}")


class UndecryptableError(LookupError):
    """None of the keys opens a value. Tells nothing of it."""

    def __init__(self) -> None:
        super().__init__(f"None of the keys in {SETTING} opens this value.")


def is_on() -> bool:
    """Whether texts are written encrypted."""
    return bool(conf().observability_encryption_keys)


def sealed(text: str) -> str:
    """The text as it is to be stored: of the first key, if there is one. An empty one stays so.

    Raises ImproperlyConfigured where a key is none.
    """
    if not text or not is_on():
        return plain(text)
    return MARK + fernets()[0].encrypt(text.encode()).decode()


def plain(text: str) -> str:
    """The text as it is stored in the clear."""
    return f"={text}" if _LOOKS_LIKE_OURS.match(text) else text


def opened(stored: str) -> str:
    """The text of a stored value.

    Raises UndecryptableError where no key opens it, ImproperlyConfigured where a key is none.
    """
    if stored.startswith(MARK):
        return _decrypted(stored, fernets())
    return stored[1:] if _LOOKS_LIKE_OURS.match(stored) else stored


def is_of_first_key(stored: str) -> bool:
    """Whether a stored value is encrypted with the key that new ones are."""
    try:
        return stored.startswith(MARK) and bool(_decrypted(stored, fernets()[:1]))
    except UndecryptableError:
        return False


def fernets() -> Sequence[Fernet]:
    """The keys, as what encrypts and decrypts.

    Raises ImproperlyConfigured where one is none, or where ``cryptography`` is missing.
    """
    return _fernets(tuple(conf().observability_encryption_keys))


def _decrypted(stored: str, with_these: Sequence[Fernet]) -> str:
    if not with_these:
        raise UndecryptableError
    from cryptography.fernet import InvalidToken, MultiFernet

    try:
        return MultiFernet(with_these).decrypt(stored.removeprefix(MARK)).decode()
    except InvalidToken:
        raise UndecryptableError from None


@lru_cache(maxsize=8)
def _fernets(keys: tuple[str, ...]) -> tuple[Fernet, ...]:
    if not keys:
        return ()
    try:
        from cryptography.fernet import Fernet
    except ImportError:
        raise ImproperlyConfigured(f"{SETTING} is set, but cryptography is missing.") from None
    try:
        return tuple(map(Fernet, keys))
    except ValueError:
        raise ImproperlyConfigured(f"{SETTING} holds what is no Fernet key.") from None


class EncryptedTextField(_TextField):
    """A text that is encrypted when it is written, if encryption is on.

    The database can't compare what is encrypted: queries find by it only what is in the clear.
    """

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        value = super().get_db_prep_save(value, connection)
        return sealed(value) if isinstance(value, str) else value

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return value if value is None else opened(value)


class EncryptedJSONField(models.JSONField):
    """The same of what is JSON. Kept as text also in the clear: no query can look into it."""

    def get_internal_type(self) -> str:
        return "TextField"

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        return sealed(json.dumps(value, cls=self.encoder))

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return value if value is None else json.loads(opened(value), cls=self.decoder)


class _ListedField(EncryptedTextField):
    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        try:
            return super().from_db_value(value, expression, connection)
        except UndecryptableError:
            return gettext("(no key opens this)")


def beginning(column: str, chars: int) -> Case:
    """For lists: the first characters of a column, or all of what is encrypted in it."""
    is_encrypted = Exact(Left(column, len(MARK)), Value(MARK))
    return Case(
        When(is_encrypted, then=F(column)),
        default=Left(column, chars),
        output_field=_ListedField(),
    )
