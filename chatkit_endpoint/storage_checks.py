"""Where visitors' files are kept, checked before the first of them lies in the open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.files.storage import FileSystemStorage, InvalidStorageError
from django.utils.translation import gettext as _

from .conf import conf
from .files import storage

NO_MEDIA_URL = {"", "/"}
"""What Django makes of a MEDIA_URL that nobody has set."""


@register("chatkit")
def check_attachment_storage(**kwargs: Any) -> list[CheckMessage]:
    try:
        kept = storage()
    except InvalidStorageError:
        return [
            Error(
                _("CHATKIT_ATTACHMENT_STORAGE is '%(alias)s', which can't be had from STORAGES.")
                % {"alias": conf().chatkit_attachment_storage},
                hint=_("Name an alias of STORAGES."),
                id="chatkit_endpoint.E008",
            )
        ]
    # Of other storages nobody can tell from here what they show to whom.
    if not isinstance(kept, FileSystemStorage) or django_settings.MEDIA_URL in NO_MEDIA_URL:
        return []
    media = Path(django_settings.MEDIA_ROOT).resolve()
    if not Path(kept.location).resolve().is_relative_to(media):
        return []
    return [
        Warning(
            _(
                "What visitors upload to the chat lies under MEDIA_ROOT, and MEDIA_URL is set: "
                "whoever knows a file's address may get it."
            ),
            hint=_(
                "Add a storage with a folder of its own to STORAGES, and name it in "
                "CHATKIT_ATTACHMENT_STORAGE. The chat serves files to their owners by a view."
            ),
            id="chatkit_endpoint.W004",
        )
    ]
