"""The routes of alerting, under /api/."""

from __future__ import annotations

from django.urls import path

from alerts.api import channels, notifications, rules

urlpatterns = [
    path("alerts/channels", channels.Channels.as_view(), name="api-alert-channels"),
    path("alerts/channels/<int:channel_id>", channels.OneChannel.as_view(), name="api-alert-channel"),
    path("alerts/rules", rules.Rules.as_view(), name="api-alert-rules"),
    path("alerts/rules/<int:rule_id>", rules.OneRule.as_view(), name="api-alert-rule"),
    path("alerts/notifications", notifications.Notifications.as_view(), name="api-alert-notifications"),
    path(
        "alerts/notifications/<int:notification_id>",
        notifications.OneNotification.as_view(),
        name="api-alert-notification",
    ),
]
