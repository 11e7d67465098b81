"""What a file is: its type by its bytes, a name that is safe to show, the storage that keeps it.

Nothing here needs the ChatKit SDK or the database.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
import uuid
from pathlib import PurePosixPath

import puremagic
from django.core.files.storage import Storage, storages
from django.utils import timezone

from .conf import conf

IMAGE_TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
"""Raster images, which run no script: shown in the page, and read by the models."""
NAME_LENGTH = 120

_SAME_TYPE = {"image/jpg": "image/jpeg"}
# Everything below the space but tab, line feed, form feed and carriage return.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def storage() -> Storage:
    """Where attachments are kept. It need not serve them: the downloads go through a view."""
    return storages[conf().chatkit_attachment_storage]


def new_place() -> str:
    """A name in the storage that nobody can guess and that says nothing of the visitor."""
    return f"chatkit/{timezone.now():%Y/%m}/{uuid.uuid4().hex}"


def canonical_type(mime_type: str) -> str:
    """A MIME type without parameters, spelled as the settings spell it."""
    bare = mime_type.partition(";")[0].strip().lower()
    return _SAME_TYPE.get(bare, bare)


def is_of_type(content: bytes, mime_type: str) -> bool:
    """Whether the bytes are what the type says. Text has no signature: it has to be UTF-8."""
    if mime_type.startswith("text/") or mime_type == "application/json":
        return _is_text(content)
    return mime_type in _types_by_signature(content)


def safe_name(name: str, mime_type: str) -> str:
    """A visitor's name for a file, fit for a page, a header and a disk.

    Without folders, control characters and marks that turn the direction of writing, of limited
    length, and with an extension of the type that the bytes really have.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if unicodedata.category(char)[0] != "C")
    name = " ".join(unicodedata.normalize("NFC", name).split())
    stem, extension = PurePosixPath(name).stem, PurePosixPath(name).suffix
    if mimetypes.guess_type(f"x{extension}", strict=False) != (mime_type, None):
        stem, extension = name, mimetypes.guess_extension(mime_type, strict=False) or ""
    stem = stem.strip(" .")[: NAME_LENGTH - len(extension)].strip(" .")
    return (stem or "file") + extension


def _types_by_signature(content: bytes) -> set[str]:
    try:
        matches = puremagic.magic_string(content)
    except (puremagic.PureError, ValueError):
        return set()
    # Office formats share their signature, and so their confidence.
    best = max(match.confidence for match in matches)
    return {match.mime_type for match in matches if match.confidence == best}


def _is_text(content: bytes) -> bool:
    if not content or _NO_TEXT.search(content):
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
