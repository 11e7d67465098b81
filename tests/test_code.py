"""What our code never does, wherever it stands: found by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.urls import get_resolver

from tests.servers import ROOT

PACKAGES = ("chatsite", "chatkit_endpoint", "observability")
BYTES_THAT_RUN = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}
"""Modules whose data is code to whoever may write it."""
CALLS_THAT_RUN = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
}
CALLS_THAT_TRUST = {"mark_safe", "SafeString", "SafeText", "Markup"}
"""What tells a template that a text is markup; format_html escapes what it is given."""
EXEMPT = {
    "chatkit_endpoint.hosted.session",
    "chatkit_endpoint.telemetry.events",
    "chatkit_endpoint.uploads.create",
    "chatkit_endpoint.uploads.download",
    "chatkit_endpoint.uploads.preview",
    "chatkit_endpoint.uploads.upload",
    "chatkit_endpoint.views.chatkit",
}
"""Those that the middleware passes over, since they ask authentication.context_of, which checks.
A view that is added here has a test that sends it a forged request, as those of these have."""
LATE_VIEW = "observability.urls._imported_when_asked.<locals>.view"
"""The views of NO_WRITES, each behind one of these."""
NO_WRITES = {"observability.api.views"}
"""Views of Django REST framework, which checks with the session; and these only read."""


@cache
def trees() -> dict[str, ast.AST]:
    """The syntax tree of every module of ours."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(paths) > 50
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths
    }


def imports(tree: ast.AST) -> Iterator[str]:
    """The top-level name of each module that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def calls(tree: ast.AST) -> Iterator[str]:
    """What is called, as it is written; and decorators, which are called too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from map(ast.unparse, node.decorator_list)


def found(tree: ast.AST) -> list[str]:
    """What a module does of all that none may do."""
    called = [
        call
        for call in calls(tree)
        if call in CALLS_THAT_RUN or call.rpartition(".")[2] in CALLS_THAT_TRUST
    ]
    return [name for name in imports(tree) if name in BYTES_THAT_RUN] + called


def test_no_data_is_ever_run_and_no_text_trusted_as_markup() -> None:
    assert {path: found(tree) for path, tree in trees().items() if found(tree)} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml\nyaml.load(text)",
        "eval(text)",
        "exec(text)",
        "mark_safe(text)",
        "safestring.mark_safe(text)",
        "@mark_safe\ndef status(self): ...",
        "SafeString(text)",
    ],
)
def test_this_would_be_found(source: str) -> None:
    assert len(found(ast.parse(source))) == 1


@pytest.mark.parametrize("source", ["re.compile(x)", "query.exec_()", "json.loads(x)"])
def test_this_is_fine(source: str) -> None:
    assert found(ast.parse(source)) == []


def test_no_template_leaves_a_text_unescaped() -> None:
    unsafe = re.compile(r"\|\s*safe(seq)?\b|autoescape\s+off")
    folders = [ROOT / "templates", *(ROOT / package for package in PACKAGES)]
    templates = [path for folder in folders for path in folder.rglob("*.html")]
    assert templates
    wrong = [path for path in templates if unsafe.search(path.read_text(encoding="utf-8"))]
    assert wrong == []


def test_sessions_are_not_pickled(settings: Any) -> None:
    assert settings.SESSION_SERIALIZER == "django.contrib.sessions.serializers.JSONSerializer"


def test_only_views_that_check_for_themselves_are_exempt_from_the_csrf_middleware() -> None:
    exempt = {
        f"{view.__module__}.{view.__qualname__}"
        for view in _views(get_resolver().url_patterns)
        if getattr(view, "csrf_exempt", False)
    }
    assert exempt == {*EXEMPT, LATE_VIEW}


def _views(patterns: Any) -> Iterator[Any]:
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from _views(pattern.url_patterns)
        else:
            yield pattern.callback


def test_the_views_that_are_said_only_to_read_do() -> None:
    for name in NO_WRITES:
        tree = ast.parse((ROOT / Path(*name.split("."))).with_suffix(".py").read_text("utf-8"))
        methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert "get" in methods
        assert not methods & {"post", "put", "patch", "delete"}
