"""Signing in, with a limit to how often somebody may be wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from chatkit_endpoint.errors import Refused
from chatkit_endpoint.limits import Allowance, Rate, address_of, bucket_key, give_back, take

FAILURES_PER_ADDRESS = Rate(10, timedelta(minutes=1))
FAILURES_PER_NAME = Rate(5, timedelta(minutes=1))


class SignInForm(AuthenticationForm):
    """Django's own; who was wrong too often has to wait, even with the right password."""

    retry_after: int | None = None
    """Seconds until the next attempt, where it was one too many."""

    def clean(self) -> dict[str, Any]:
        if self.errors:
            return self.cleaned_data  # A field is empty: nothing was guessed.
        # Taken before the password is looked at, so that no more are guessed at once than one
        # after the other; given back where it was right.
        allowances = _allowances(self.request, self.cleaned_data["username"])
        try:
            take(allowances)
        except Refused as refusal:
            self.retry_after = refusal.retry_after
            raise ValidationError(
                _("Too many attempts to sign in. Wait a minute, then try again."), code="throttled"
            ) from refusal
        cleaned = super().clean()
        give_back(allowances)
        return cleaned


def _allowances(request: HttpRequest | None, name: str) -> list[Allowance]:
    # Whether there is such a user or not. Folded: a backend may know one under many spellings.
    found = [Allowance(bucket_key("login", "name", name.casefold()), FAILURES_PER_NAME)]
    if request is not None and (address := address_of(request)):
        found.append(Allowance(bucket_key("login", "address", address), FAILURES_PER_ADDRESS))
    return found


class SignIn(LoginView):
    """The login page, which says itself when there were too many attempts: 429, ``Retry-After``."""

    form_class = SignInForm

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_invalid(form)
        if isinstance(form, SignInForm) and form.retry_after is not None:
            response.status_code = 429
            response.headers["Retry-After"] = str(form.retry_after)
        return response
