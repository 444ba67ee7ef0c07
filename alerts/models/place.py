"""How far the notifier has read the log of alerts, written with the notifications that it made of them."""

from __future__ import annotations

from django.db import models


class LogPlace(models.Model):
    """`log` is Kafka's id of the topic, `offsets` the next offset of each partition."""

    name = models.CharField(primary_key=True, max_length=32)
    log = models.CharField(max_length=64, blank=True, default="")
    offsets = models.JSONField(default=dict)

    class Meta:
        default_permissions = ()
