"""/api/alerts/notifications: what the caller was told, by which channel, and what became of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from alerts import digest
from alerts.api import shapes
from alerts.api.own import missing
from alerts.models import Notification
from portfolios.api.kit import paging
from portfolios.api.kit.route import ApiView, route

TAG = "alerts"


class Notifications(ApiView):
    @route(
        "alert_notification_list",
        "What the caller was told",
        tag=TAG,
        query=paging.page_query(
            ["-created_at"], outcome=shapes.OUTCOME, severity=shapes.SEVERITY, rule_id=shapes.ID, channel_id=shapes.ID
        ),
        answer=paging.page_of(shapes.NOTIFICATION),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """The newest first, of the last thirty days, each with its outcome."""
        names = ("outcome", "severity", "rule_id", "channel_id")
        mine = Notification.objects.filter(user=request.user, **{name: query[name] for name in names if name in query})
        found, count = paging.rows(mine, query)
        return Response(paging.document(request, query, count, found, _document))


class OneNotification(ApiView):
    @route("alert_notification", "One notification", tag=TAG, answer=shapes.NOTIFICATION)
    def get(self, request: Request, notification_id: int) -> Response:
        """With its outcome, and why where it was not sent."""
        found = Notification.objects.filter(user=request.user, pk=notification_id).first()
        if found is None:
            raise missing("notification", notification_id)
        return Response(_document(found))


def _document(told: Notification) -> dict[str, Any]:
    return {
        "id": told.pk,
        "title": "test" if told.is_test else digest.title(told.kinds),
        "severity": told.severity,
        "alert_count": told.alert_count,
        "rule_id": told.rule_id,
        "rule": told.rule_name,
        "channel_id": told.channel_id,
        "channel": told.channel_name,
        "is_test": told.is_test,
        "held": told.held,
        "outcome": told.outcome,
        "reason": told.reason,
        "attempts": told.attempts,
        "created_at": told.created_at,
        "next_attempt_at": told.next_attempt_at,
        "sent_at": told.sent_at,
    }
