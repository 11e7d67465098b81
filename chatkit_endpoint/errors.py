"""The endpoint's errors: a status, a code for programs, a message for people."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

from django.http import JsonResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class ErrorResponse(JsonResponse):
    """An error as JSON. It knows its code, for the record of the request."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__({"error": {"code": code, "message": message}}, status=status)
        self.error_code = code


class _Fault(NamedTuple):
    status: HTTPStatus
    code: str
    message: str | Promise


class Fault(_Fault, Enum):
    """Everything that the endpoint says no to."""

    INVALID = (
        HTTPStatus.BAD_REQUEST,
        "invalid_request",
        _("The chat sent something that the server does not understand. Reload the page."),
    )
    UNAUTHENTICATED = (
        HTTPStatus.UNAUTHORIZED,
        "unauthenticated",
        _("You are not signed in, or your login has expired. Sign in again."),
    )
    CSRF = (
        HTTPStatus.FORBIDDEN,
        "csrf_failed",
        _("The page is out of date. Reload it and try again."),
    )
    NOT_FOUND = (
        HTTPStatus.NOT_FOUND,
        "not_found",
        _("This conversation, or a part of it, does not exist."),
    )
    METHOD = (
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        _("The chat answers POST requests only."),
    )
    TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        _("The message is too long."),
    )
    BODY_TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        _("That is more than the server takes."),
    )
    TOO_SLOW = (
        HTTPStatus.REQUEST_TIMEOUT,
        "too_slow",
        _("It took too long until all of it was here. Check your connection and try again."),
    )
    FILE_TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "file_too_large",
        _("The file is too large."),
    )
    FILE_TYPE = (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "file_type_refused",
        _("Files of this type are not accepted, or the file is not what it says it is."),
    )
    TOO_MANY_FILES = (
        HTTPStatus.CONFLICT,
        "too_many_files",
        _("These are too many files. Send or remove some first."),
    )
    ALREADY_UPLOADED = (
        HTTPStatus.CONFLICT,
        "already_uploaded",
        _("This file is uploaded already."),
    )
    UNSUPPORTED = (
        HTTPStatus.NOT_IMPLEMENTED,
        "not_supported",
        _("This chat does not offer that."),
    )
    LOCKED = (
        HTTPStatus.CONFLICT,
        "thread_locked",
        _("This conversation is locked: nothing can be added to it."),
    )
    HELD = (
        HTTPStatus.CONFLICT,
        "held",
        _("This conversation is on hold: it has to be kept."),
    )
    RATE = (
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        _("That was too much at once. Try again in a moment."),
    )
    SERVER = (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "server_error",
        _("Something went wrong on our side. Try again in a moment."),
    )

    def response(self, message: str = "") -> JsonResponse:
        """``{"error": {"code", "message"}}`` in the active language, or with a message given."""
        return ErrorResponse(self.status, self.code, message or str(self.message))


class Refused(Exception):
    """A request that is answered with a fault. ``message`` replaces the fault's own."""

    def __init__(self, fault: Fault, message: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(fault.code)
        self.fault = fault
        self.message = message
        self.retry_after = retry_after

    def response(self) -> JsonResponse:
        """The fault, with ``Retry-After`` in seconds where there is one."""
        response = self.fault.response(self.message)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        return response
