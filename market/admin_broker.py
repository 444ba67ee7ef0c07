"""The admin's pages of the simulated exchange's own book."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display

from market.models import BrokerFill, BrokerOrder
from portfolios.admin_base import SIDE_COLOURS, SIDES, ReadOnlyAdmin, amount, link, pretty, short

STATE_COLOURS = {"filled": "success", "working": "info", "cancelled": "warning", "rejected": "danger"}


class BrokerFillInline(TabularInline):
    """A broker order's fills, on its page."""

    model = BrokerFill
    fields = ("number", "event_time", "volume", "price", "amount", "commission", "tax", "fill_id")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(BrokerOrder)
class BrokerOrderAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "order",
        "of",
        "side",
        "code",
        "volume",
        "filled_volume",
        "outcome",
        "submitted_count",
    )
    list_display_links = ("created_at",)
    list_filter = ("state", "submitted_count")
    search_fields = ("order_id", "portfolio_id", "code")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    inlines = (BrokerFillInline,)
    fieldsets = (
        (None, {"fields": (("order", "of"), ("side", "code"), ("volume", "filled_volume"))}),
        ("Fate", {"fields": (("outcome", "reason"), ("ended_at", "submitted_count"))}),
        ("As it rests", {"fields": (("created_at", "updated_at"), "contents")}),
    )
    readonly_fields = ("order", "of", "side", "outcome", "contents")

    @display(description="Order")
    def order(self, order: BrokerOrder) -> SafeString | str:
        return link("market.order", order.pk, short(order.pk))

    @display(description="Portfolio")
    def of(self, order: BrokerOrder) -> SafeString | str:
        return link("portfolios.portfolio", order.portfolio_id, short(order.portfolio_id))

    @display(description="Side", ordering="direction", label=SIDE_COLOURS)
    def side(self, order: BrokerOrder) -> str:
        return SIDES.get(order.direction, str(order.direction))

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def outcome(self, order: BrokerOrder) -> str:
        return order.state

    @display(description="Resting order")
    def contents(self, order: BrokerOrder) -> SafeString:
        return pretty(order.resting)


@admin.register(BrokerFill)
class BrokerFillAdmin(ReadOnlyAdmin):
    list_display = ("event_time", "at_broker", "number", "volume", "paid", "worth", "fees", "created_at")
    search_fields = ("fill_id", "order__order_id")
    date_hierarchy = "event_time"
    ordering = ("-event_time",)
    fields = ("fill_id", ("at_broker", "number"), ("volume", "price", "amount"), ("commission", "tax"), "event_time")
    readonly_fields = ("at_broker",)

    @display(description="Order")
    def at_broker(self, fill: BrokerFill) -> SafeString | str:
        return link("market.brokerorder", fill.order_id, short(fill.order_id))

    @display(description="Price", ordering="price")
    def paid(self, fill: BrokerFill) -> str:
        return amount(fill.price)

    @display(description="Amount", ordering="amount")
    def worth(self, fill: BrokerFill) -> str:
        return amount(fill.amount)

    @display(description="Fees")
    def fees(self, fill: BrokerFill) -> str:
        return amount(fill.commission + fill.tax)
