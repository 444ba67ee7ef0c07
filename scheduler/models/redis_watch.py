"""What the heartbeat checks remember of Redis, kept where a restart of Redis cannot take it (SPEC S3)."""

from __future__ import annotations

from django.db import models


class RedisWatch(models.Model):
    """One row. Until `believe_after` a missing heartbeat is not believed; `silent`: the last check got no answer."""

    name = models.CharField(primary_key=True, max_length=40)
    run_id = models.CharField(max_length=64, blank=True, default="")
    believe_after = models.DateTimeField(null=True)
    silent = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.name} {self.run_id}"
