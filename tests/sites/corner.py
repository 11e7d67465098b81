"""ROOT_URLCONF: the site, with pages that have the chat in their corner and in their middle."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import path

from chatsite.urls import urlpatterns as site_urls

CORNER = """{% load chatkit i18n %}{% get_current_language_bidi as bidi %}<!doctype html>
<html lang="en" dir="{% if bidi %}rtl{% else %}ltr{% endif %}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A shop</title><link rel="icon" href="data:,">
<h1>A shop</h1>
<p><a href="/">Elsewhere</a></p>
{% chatkit_popup greeting="How can we help?" %}"""

# The script comes after the chat that it configures.
MIDDLE = """{% load chatkit %}<!doctype html>
<title>A shop</title><link rel="icon" href="data:,">
{% chatkit %}
<script src="/configure.js" type="module"></script>"""
CONFIGURE = """
document.addEventListener('chatkit.configure', ({ target, detail }) => {
    detail.options = { ...detail.options, startScreen: { greeting: `Hello from ${target.id}` } };
});"""


def corner(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template(CORNER).render(RequestContext(request)))


def middle(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template(MIDDLE).render(RequestContext(request)))


def configure(request: HttpRequest) -> HttpResponse:
    return HttpResponse(CONFIGURE, content_type="text/javascript")


urlpatterns = [
    path("corner/", corner),
    path("middle/", middle),
    path("configure.js", configure),
    *site_urls,
]
