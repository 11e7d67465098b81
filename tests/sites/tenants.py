"""CHATKIT_TENANT: one site, many customers, told apart by their subdomain."""

from __future__ import annotations

from django.http import HttpRequest


def tenant_of(request: HttpRequest) -> str:
    """The customer's name: ``acme`` for ``acme.example.com``. ALLOWED_HOSTS guards the header."""
    return request.get_host().partition(".")[0]
