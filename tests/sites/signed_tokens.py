"""CHATKIT_AUTHENTICATION_CLASSES: bearer tokens that carry their own signature, as JWTs do."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.signing import BadSignature, TimestampSigner
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

MAX_AGE_SECONDS = 3600
_signer = TimestampSigner(salt="tests.sites.signed_tokens")


def token_for(user: User) -> str:
    """What a client sends as ``Authorization: Bearer …``."""
    return _signer.sign(user.get_username())


class SignedTokenAuthentication(BaseAuthentication):
    """None where there is no token, so that the next class is asked; a bad token is refused."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            name = _signer.unsign(token, max_age=MAX_AGE_SECONDS)
            return User.objects.get(username=name, is_active=True), None
        except (BadSignature, User.DoesNotExist) as error:
            raise AuthenticationFailed from error
