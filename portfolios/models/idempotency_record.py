"""The answer to a POST that carried an Idempotency-Key, to be given again when the POST is repeated."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class IdempotencyRecord(models.Model):
    """Its row is taken before the work begins; without a `status` the work is under way, or its process died."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=64, help_text="SHA-256 of the key: a database may take a for A.")
    fingerprint = models.CharField(max_length=64, help_text="Of method, path and body.")
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(default="")
    headers = models.JSONField(default=dict)
    begun_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["user", "key"], name="one_answer_per_idempotency_key"),)
        indexes = (models.Index(fields=["begun_at"]),)

    def __str__(self) -> str:
        return f"{self.key[:8]}: {self.status or 'under way'}"
