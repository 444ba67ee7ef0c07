"""Every write by the API: who, from where, what changed. Rows are added and never altered."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """`changes` is `{what: [before, after]}`; `who` outlives the user it names."""

    at = models.DateTimeField(auto_now_add=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    who = models.CharField(max_length=150)
    via = models.CharField(max_length=40, help_text="token, session, or key and its prefix.")
    address = models.CharField(max_length=64, blank=True, default="", help_text="Of the caller, or of its proxy.")
    forwarded_for = models.CharField(max_length=200, blank=True, default="", help_text="As the request claims.")
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=100, blank=True, default="")
    changes = models.JSONField(default=dict)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=300)
    idempotency_key = models.CharField(max_length=100, blank=True, default="")

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "audit entries"
        indexes = (models.Index(fields=["target", "at"]), models.Index(fields=["at"]))

    def __str__(self) -> str:
        return f"{self.who}: {self.action} {self.target}"
