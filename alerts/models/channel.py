"""A way to reach somebody: an Apprise URL. It holds passwords and tokens, so it is stored encrypted."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Channel(models.Model):
    """`secret` is the URL, encrypted (`alerts.channels`); `shown` is what may be seen of it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_channels")
    name = models.CharField(max_length=100)
    secret = models.TextField(editable=False)
    shown = models.CharField("address", max_length=200, editable=False)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=["user", "name"], name="one_channel_of_a_name"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.shown})"
