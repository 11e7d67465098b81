"""The API's schema, and requests of every kind that it allows or forbids.

``FUZZ_EXAMPLES=10000 make test ARGS=tests/observability/api/test_schema.py`` is the long form.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode

from observability.api import views
from tests.factories import make_client_event, make_operator, make_turn
from tests.observability.helpers import run_python

PATH = "/observability/api/schema/"
EXAMPLES = math.ceil(int(os.environ.get("FUZZ_EXAMPLES", "300")) / 6)
"""For each of the six endpoints."""


PATHS = ("events", "metrics", "sessions/{session_id}", "threads/{thread_id}", "turns", "turns/{id}")


@pytest.fixture
def operator(client: Client, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Who may read everything, and something for each path to find."""
    monkeypatch.setattr(views, "RATE", None)
    client.force_login(make_operator())
    turn = make_turn("Secret?", user=User.objects.get(), thread_id="thr_1", session_id="session-1")
    make_client_event(turn)
    return client


def schema_of(client: Client) -> dict[str, Any]:
    accept = {"Accept": "application/vnd.oai.openapi+json"}
    return dict(json.loads(client.get(PATH, headers=accept).content))


def test_the_schema_describes_every_path(operator: Client) -> None:
    schema = schema_of(operator)
    paths = schema["paths"]
    assert list(paths) == [f"/observability/api/{path}/" for path in PATHS]
    assert list(paths["/observability/api/events/"]) == ["post"]
    assert set(schema["components"]["securitySchemes"]) == {"cookieAuth", "tokenAuth"}


@pytest.mark.parametrize("path", PATHS)
def test_no_request_of_any_shape_breaks_the_api(operator: Client, path: str) -> None:
    path = f"/observability/api/{path}/"
    schema = schemathesis.openapi.from_dict(schema_of(operator))
    schema.config.generation.update(modes=list(GenerationMode))
    method = "POST" if "events" in path else "GET"
    requests = schema[path][method].as_strategy()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=requests)
    def send(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver")
        body = sent.get("data")
        response = operator.generic(
            method,
            case.formatted_path,
            json.dumps(sent.get("json"), default=str) if body is None else body,
            content_type=str(sent["headers"].get("Content-Type", "application/json")),
            query_params=sent.get("params") or None,
        )
        assert response.status_code < 500
        assert b"Traceback" not in response.content
        statuses[response.status_code] += 1

    statuses: Counter[int] = Counter()
    send()
    assert statuses.total() >= EXAMPLES


def test_what_serves_and_describes_the_api_is_imported_when_that_is_asked_for() -> None:
    # After all that a process does to chat and to hear of browsers.
    code = (
        "import sys, django; django.setup(); from django.urls import reverse; "
        "from chatkit_endpoint.warm_up import warm_up; warm_up(); reverse('observability-schema'); "
        "import observability.api.batch; "
        "sys.exit(bool({'drf_spectacular.openapi', 'rest_framework.compat'} & set(sys.modules)))"
    )
    run_python(code)
