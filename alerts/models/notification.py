"""A notification: what is to be told of a rule's alerts by one channel, and what became of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from alerts.models.channel import Channel
from alerts.models.rule import Rule


class Outcome(models.TextChoices):
    WAITING = "waiting"
    SENDING = "sending"
    RETRYING = "retrying", "to be tried again"
    SENT = "sent"
    FAILED = "failed"


class Notification(models.Model):
    """While it waits, further alerts of its rule are added to it; what has been tried once does not change any more.

    `kinds` is the digest: one entry a (type, source, severity, portfolio) with its count, first and last moment and
    newest message. `held`: kept back for the end of quiet hours. `claimed_until`: who is sending it gives up by then;
    past it nobody is, and it is tried again (it may then arrive twice).
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_notifications")
    rule = models.ForeignKey(Rule, null=True, on_delete=models.SET_NULL, related_name="notifications")
    channel = models.ForeignKey(Channel, null=True, on_delete=models.SET_NULL, related_name="notifications")
    rule_name = models.CharField("rule", max_length=100, blank=True, default="")
    channel_name = models.CharField("channel", max_length=100)
    severity = models.CharField(max_length=10)
    alert_count = models.PositiveIntegerField("alerts", default=0)
    kinds = models.JSONField(default=list)
    is_test = models.BooleanField("test", default=False)
    held = models.BooleanField(default=False)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.WAITING)
    reason = models.CharField(max_length=500, blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["outcome", "next_attempt_at"], name="alerts_due"),
            models.Index(fields=["rule", "outcome"], name="alerts_waiting"),
            models.Index(fields=["created_at"], name="alerts_created"),
        )

    def __str__(self) -> str:
        return f"{self.rule_name or 'test'} by {self.channel_name}"
