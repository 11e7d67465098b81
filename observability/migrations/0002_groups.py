"""The two groups that most sites need. An administrator may change or delete them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations

OPERATORS = "chat operators"
ANALYSTS = "chat analysts"
FIGURES = ("view_turn", "view_clientevent", "view_delivery", "view_endpointrequest")
HOLDS = ("view_hold", "add_hold", "delete_hold")


def make_groups(apps: Any, schema_editor: Any) -> None:
    # Django makes permissions after all migrations, which is too late for this one.
    app_config = apps.get_app_config("observability")
    app_config.models_module = getattr(app_config, "models_module", None) or True
    create_permissions(app_config, apps=apps, verbosity=0)
    group_model = apps.get_model("auth", "Group")
    permissions = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label="observability"
    )
    for name, codenames in (
        (OPERATORS, (*FIGURES, *HOLDS, "view_content", "change_delivery")),
        (ANALYSTS, FIGURES),
    ):
        group, _ = group_model.objects.get_or_create(name=name)
        group.permissions.add(*permissions.filter(codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("observability", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
