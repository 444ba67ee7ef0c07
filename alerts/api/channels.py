"""/api/alerts/channels: the ways to reach the caller. An address goes in and never comes out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from alerts import channels
from alerts.api import shapes
from alerts.api.own import missing, unique
from alerts.errors import BadAddress
from alerts.models import Channel
from portfolios.api.kit import audit, paging
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import TRADE
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault

TAG = "alerts"


class Channels(ApiView):
    @route(
        "alert_channel_list",
        "The caller's channels",
        tag=TAG,
        query=paging.page_query(["name", "created_at"]),
        answer=paging.page_of(shapes.CHANNEL),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """Each with what may be seen of its address."""
        found, count = paging.rows(Channel.objects.filter(user=request.user), query)
        return Response(paging.document(request, query, count, found, document))

    @route(
        "alert_channel_create", "A new channel", tag=TAG, scope=TRADE, writes=True, status=201,
        body=shapes.NEW_CHANNEL, answer=shapes.CHANNEL,
        example={"name": "mail", "url": "mailtos://user:password@example.com?to=me@example.com"},
    )  # fmt: skip
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """Rules of the caller's send by it."""
        made = Channel(user=request.user)
        changes = _set(made, body)
        audit.record(request, "alert_channel.create", str(made.pk), changes)
        url = reverse("api-alert-channel", args=[made.pk], request=request)
        return Response(document(made), status=201, headers={"Location": url})


class OneChannel(ApiView):
    @route("alert_channel", "One channel", tag=TAG, answer=shapes.CHANNEL)
    def get(self, request: Request, channel_id: int) -> Response:
        """With what may be seen of its address."""
        return Response(document(_mine(request, channel_id)))

    @route(
        "alert_channel_change", "Change a channel", tag=TAG, scope=TRADE, writes=True,
        body=shapes.CHANNEL_CHANGE, answer=shapes.CHANNEL, example={"enabled": False},
    )  # fmt: skip
    def patch(self, request: Request, channel_id: int, body: Mapping[str, Any]) -> Response:
        """What is not given stays."""
        found = _mine(request, channel_id)
        audit.record(request, "alert_channel.change", str(found.pk), _set(found, body))
        return Response(document(found))

    @route("alert_channel_delete", "Remove a channel", tag=TAG, scope=TRADE, writes=True, status=204)
    def delete(self, request: Request, channel_id: int) -> Response:
        """Its notifications stay, with its name."""
        found = _mine(request, channel_id)
        audit.record(request, "alert_channel.delete", str(found.pk), {"name": (found.name, None)})
        found.delete()
        return Response(status=204)


def document(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.pk,
        "name": channel.name,
        "address": channel.shown,
        "enabled": channel.enabled,
        "created_at": channel.created_at,
    }


def _mine(request: Request, channel_id: int) -> Channel:
    found = Channel.objects.filter(user=request.user, pk=channel_id).first()
    if found is None:
        raise missing("channel", channel_id)
    return found


def _set(channel: Channel, body: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Save what is given; what changed, of the address only what may be seen. Raises InvalidConfig, Conflict."""
    before = document(channel)
    if "name" in body:
        unique(channel, body["name"])
    channel.name, channel.enabled = body.get("name", channel.name), body.get("enabled", channel.enabled)
    if "url" in body:
        try:
            channel.secret, channel.shown = channels.seal(body["url"])
        except BadAddress as error:
            raise InvalidConfig([Fault("url", str(error))]) from None
    channel.save()
    after = document(channel)
    names = ("name", "address", "enabled")
    return {name: (before[name], after[name]) for name in names if before[name] != after[name]}
