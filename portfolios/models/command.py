"""Every command with who, what, target, epoch, its fate and its result (SPEC S7)."""

from __future__ import annotations

from django.db import models

from portfolios.models.fields import new_id


class CommandState(models.TextChoices):
    SENT = "sent"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Command(models.Model):
    """A hint to a node, the engine or the scheduler; reconciliation, not this row, is the guarantee.

    Claimed by `UPDATE … WHERE state = 'sent'`, so that a repeated delivery is executed once.
    """

    command_id = models.CharField(primary_key=True, max_length=36, default=new_id)
    command_type = models.CharField(max_length=40)
    target_id = models.CharField(max_length=100, help_text="A portfolio's id, a node's id, or the engine's.")
    node_id = models.CharField(max_length=100, blank=True, default="", help_text="The node it was sent to.")
    epoch = models.PositiveBigIntegerField(null=True)
    params = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=CommandState, default=CommandState.SENT)
    issued_by = models.CharField(max_length=150, blank=True, default="")
    door = models.CharField(
        max_length=16, default="celery", help_text="celery, kafka, or direct: carried out where it was asked."
    )
    result = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["target_id", "created_at"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["created_at"], name="portfolios_command_created"),
        )

    def __str__(self) -> str:
        return f"{self.command_type} {self.target_id} ({self.state})"
