"""Operators of the chat read conversations, and shut them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

OPERATORS = "chat operators"


def let_operators_in(apps: Any, schema_editor: Any) -> None:
    # Django makes permissions after all migrations, which is too late for this one.
    app_config = apps.get_app_config("chatkit_endpoint")
    app_config.models_module = getattr(app_config, "models_module", None) or True
    create_permissions(app_config, apps=apps, verbosity=0)
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="chatkit_endpoint", codename__in=("view_thread", "change_thread")
    )
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=OPERATORS)
    group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [
        ("chatkit_endpoint", "0001_initial"),
        ("observability", "0002_groups"),
    ]

    operations = [migrations.RunPython(let_operators_in, migrations.RunPython.noop)]
