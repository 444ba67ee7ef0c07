"""A portfolio's state and the log offsets it has consumed, saved together (SPEC N6)."""

from __future__ import annotations

from django.db import models

from portfolios.models.portfolio import Portfolio


class Checkpoint(models.Model):
    """One row a portfolio, made with it. Written only `WHERE portfolio_id = … AND epoch = …`.

    `offsets` is `{topic: {partition: next offset not yet decided}}`; `topic_ids` `{topic: Kafka's topic id}`, by which
    a re-created topic is recognised. `state` is the kernel's snapshot, empty before the first start.
    """

    portfolio = models.OneToOneField(Portfolio, primary_key=True, on_delete=models.CASCADE)
    epoch = models.PositiveBigIntegerField(default=0)
    state = models.BinaryField(default=b"")
    pseq = models.PositiveBigIntegerField(default=0)
    offsets = models.JSONField(default=dict)
    topic_ids = models.JSONField(default=dict)
    config_version = models.PositiveIntegerField(default=0)
    incarnation = models.PositiveIntegerField(default=0)
    saved_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("portfolio",)

    def __str__(self) -> str:
        return f"{self.portfolio_id} at epoch {self.epoch}"
