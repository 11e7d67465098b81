from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

from . import prometheus


def read_api(view: Callable[[str], Any]) -> list[URLPattern]:
    """The addresses of the API; ``view`` gives the view of a name in :mod:`.api.views`."""
    api = "observability/api"
    return [
        path(f"{api}/turns/", view("TurnList"), name="observability-turns"),
        path(f"{api}/turns/<str:id>/", view("TurnDetail"), name="observability-turn"),
        path(f"{api}/threads/<str:thread_id>/", view("ThreadDetail"), name="observability-thread"),
        path(
            f"{api}/sessions/<str:session_id>/", view("SessionDetail"), name="observability-session"
        ),
        path(f"{api}/metrics/", view("Metrics"), name="observability-metrics"),
    ]


def _imported_when_asked(name: str) -> Any:
    """A view that only who asks for it imports: Django REST framework, with all that it looks for,
    takes a third of a second and 15 MB, and most processes chat.
    """

    @csrf_exempt  # Who is asked by a session looks there, and says no in JSON.
    @login_not_required  # The same: it takes tokens, too.
    def view(request: HttpRequest, **captured: str) -> HttpResponseBase:
        from .api import views

        return getattr(views, name).as_view()(request, **captured)  # type: ignore[no-any-return]

    return view


@login_not_required
def _schema(request: HttpRequest) -> HttpResponseBase:
    """The API as OpenAPI 3; what describes it is imported when it is asked for, too."""
    from .api.schema import view

    return view(request)


urlpatterns = [
    *read_api(_imported_when_asked),
    path("metrics", prometheus.metrics, name="observability-prometheus-metrics"),
    path("observability/api/schema/", _schema, name="observability-schema"),
]
