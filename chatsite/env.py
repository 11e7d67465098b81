"""The environment, read strictly: what is misspelt fails at start instead of being false."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off", ""})


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that ``NAME_FILE`` points to (for secrets).

    Raises ImproperlyConfigured where both are set or the file can't be read.
    """
    file_name = os.environ.get(f"{name}_FILE")
    if not file_name:
        return os.environ.get(name, default)
    if name in os.environ:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    try:
        return Path(file_name).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE can't be read: {error.strerror}.") from error


def flag(name: str, default: bool = False) -> bool:
    """A boolean. Raises ImproperlyConfigured for anything but 1/0, true/false, yes/no, on/off."""
    value = text(name, "1" if default else "0").strip().lower()
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} must be true or false.")
    return value in TRUE


def words(name: str, default: str = "") -> list[str]:
    """A list, separated by commas; spaces around the words are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def whole(name: str, default: int = 0) -> int:
    """A whole number, 0 or more. Raises ImproperlyConfigured for anything else."""
    value = text(name, str(default)).strip()
    if not (value.isascii() and value.isdigit()):
        raise ImproperlyConfigured(f"{name} must be a whole number.")
    return int(value)
