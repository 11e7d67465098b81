"""The site's own pages: the chat, and what a load balancer asks."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from observability import worker


@login_required
def chat(request: HttpRequest) -> HttpResponse:
    return render(request, "chat.html")


async def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """The process can do its work; 503 names what can't."""
    checks = {
        "database": _database_answers(),
        "migrations": _is_migrated(),
        "worker": worker.is_alive(),
    }
    return JsonResponse(
        {name: "ok" if fine else "failed" for name, fine in checks.items()},
        status=200 if all(checks.values()) else 503,
    )


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _is_migrated() -> bool:
    try:
        executor = MigrationExecutor(connection)
        return not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return False
