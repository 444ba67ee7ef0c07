"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class SiteConfig(AppConfig):
    name = "ginkgo_site"

    def ready(self) -> None:
        # The last app that has tables: by then all the permissions there are have been made.
        last = [each for each in apps.get_app_configs() if each.models_module is not None][-1]
        post_migrate.connect(_ship_groups, sender=last, dispatch_uid="ginkgo_site.groups")


def _ship_groups(**_: Any) -> None:
    from ginkgo_site import groups

    groups.ship()
