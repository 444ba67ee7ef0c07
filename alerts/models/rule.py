"""A rule: which alerts its user wants to hear of, by which channels, how often, and when not."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from timezone_field import TimeZoneField

from alerts.models.channel import Channel
from portfolios.models import Portfolio


class Severity(models.TextChoices):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Rule(models.Model):
    """Every condition must hold; an empty one always does. A user hears of their own portfolios, staff of everything.

    `last_due_at`: when the latest of its notifications was, or is, to leave; the next one leaves `min_interval` later.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_rules")
    name = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True)
    severity = models.CharField("severity at least", max_length=10, choices=Severity, default=Severity.WARNING)
    types = models.CharField(
        max_length=500, blank=True, default="", help_text="Like “queue_full, data_*”; empty: every type."
    )
    sources = models.CharField(
        max_length=500, blank=True, default="", help_text="Like “node-*, scheduler”; empty: every source."
    )
    portfolios = models.ManyToManyField(Portfolio, blank=True, help_text="None: all that the user may see.")
    channels = models.ManyToManyField(Channel, blank=True, related_name="rules")
    min_interval = models.PositiveIntegerField(
        "seconds between notifications",
        default=60,
        validators=[MinValueValidator(1)],
        help_text="What comes in between is told together, in the next one.",
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="Quiet hours: nothing leaves from here on …")
    quiet_until = models.TimeField(null=True, blank=True, help_text="… until here, when all of it is told at once.")
    time_zone = TimeZoneField(default="UTC", help_text="Of the quiet hours.")
    critical_passes = models.BooleanField(
        "critical passes", default=True, help_text="A critical alert is told in quiet hours too."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_due_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=["user", "name"], name="one_rule_of_a_name"),)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if (self.quiet_from is None) != (self.quiet_until is None):
            raise ValidationError({"quiet_until": "Quiet hours have a beginning and an end: give both, or neither."})
