"""A name for the alerts in MongoDB: the admin's page and the permission to see it hang on it; there is no table."""

from __future__ import annotations

from django.db import models


class Alert(models.Model):
    alert_id = models.CharField(primary_key=True, max_length=36)

    class Meta:
        managed = False
        default_permissions = ("view",)
