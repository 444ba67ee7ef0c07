"""A node as the scheduler knows it; what it *is* right now is in Redis (SPEC S6)."""

from __future__ import annotations

from django.db import models

from scheduler.models.labels import validate_node_labels


class NodeState(models.TextChoices):
    ONLINE = "online"
    OFFLINE = "offline"


class Node(models.Model):
    """`enabled` off means drained: it keeps nothing and gets nothing. `labels` like `{"market": ["cn"]}`.

    `missing_since` and `ailing_since` are when a heartbeat was first not seen and a bad state first reported: what the
    checks remember from one to the next, in MySQL so that any scheduler process can run the next one.
    """

    node_id = models.CharField(primary_key=True, max_length=100)
    state = models.CharField(max_length=16, choices=NodeState, default=NodeState.OFFLINE)
    enabled = models.BooleanField(default=True, help_text="Off: drained. It gets nothing and what it has moves away.")
    labels = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_node_labels],
        help_text='What it takes, like {"market": ["cn", "hk"], "region": ["sh"]}; without "market": every market.',
    )
    max_portfolios = models.PositiveIntegerField(default=5, help_text="As the node says.")
    capacity = models.PositiveIntegerField(
        null=True, blank=True, help_text="The operator's limit; empty: what the node says."
    )
    instance = models.CharField(max_length=64, blank=True, default="")
    host = models.CharField(max_length=200, blank=True, default="")
    pid = models.PositiveIntegerField(null=True, blank=True)
    version = models.CharField(max_length=40, blank=True, default="")
    first_seen = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(null=True, blank=True)
    offline_since = models.DateTimeField(null=True, blank=True)
    missing_since = models.DateTimeField(null=True, blank=True)
    ailing_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("node_id",)

    def __str__(self) -> str:
        return self.node_id

    @property
    def room(self) -> int:
        """How many portfolios it may have."""
        return self.max_portfolios if self.capacity is None else self.capacity
