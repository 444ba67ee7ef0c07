"""A node as the scheduler knows it; what it *is* right now is in Redis (SPEC S6)."""

from __future__ import annotations

from django.db import models


class NodeState(models.TextChoices):
    ONLINE = "online"
    OFFLINE = "offline"


class Node(models.Model):
    """`enabled` off means drained: it keeps nothing and gets nothing. `labels` like `{"market": ["cn"]}`."""

    node_id = models.CharField(primary_key=True, max_length=100)
    state = models.CharField(max_length=16, choices=NodeState, default=NodeState.OFFLINE)
    enabled = models.BooleanField(default=True)
    labels = models.JSONField(default=dict, blank=True)
    max_portfolios = models.PositiveIntegerField(default=5)
    instance = models.CharField(max_length=64, blank=True, default="")
    host = models.CharField(max_length=200, blank=True, default="")
    pid = models.PositiveIntegerField(null=True, blank=True)
    version = models.CharField(max_length=40, blank=True, default="")
    first_seen = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(null=True, blank=True)
    offline_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("node_id",)

    def __str__(self) -> str:
        return self.node_id
