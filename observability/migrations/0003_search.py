"""The full-text index of what was said in turns."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from observability import search


def install(apps: Any, schema_editor: Any) -> None:
    search.install(schema_editor)


def uninstall(apps: Any, schema_editor: Any) -> None:
    search.uninstall(schema_editor)


class Migration(migrations.Migration):
    dependencies = [("observability", "0002_groups")]

    operations = [migrations.RunPython(install, uninstall)]
