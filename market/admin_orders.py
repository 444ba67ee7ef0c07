"""The admin's pages of orders and fills: the engine's truth."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from market.models import Fill, Order
from market.models.order import OrderState
from portfolios.admin_base import SIDE_COLOURS, SIDES, ReadOnlyAdmin, amount, link, listing, short

STATE_COLOURS = {
    OrderState.FILLED.label: "success",
    OrderState.PARTIALLY_FILLED.label: "info",
    OrderState.ACCEPTED.label: "info",
    OrderState.REJECTED.label: "danger",
    OrderState.CANCELLED.label: "warning",
}


class FillInline(TabularInline):
    """An order's fills, on its page."""

    model = Fill
    fields = ("event_time", "volume", "paid", "worth", "costs", "fill_id")
    readonly_fields = fields
    ordering = ("event_time", "id")
    extra = 0
    can_delete = False
    show_change_link = True

    @display(description="Price")
    def paid(self, fill: Fill) -> str:
        return amount(fill.price)

    @display(description="Amount")
    def worth(self, fill: Fill) -> str:
        return amount(fill.amount)

    @display(description="Fees")
    def costs(self, fill: Fill) -> str:
        return amount(fill.commission + fill.tax)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "of", "side", "code", "volume", "filled_volume", "kind", "outcome", "why", "epoch")
    list_filter = ("state", "direction", ("portfolio", AutocompleteSelectFilter), "broker")
    list_select_related = ("portfolio",)
    search_fields = ("order_id", "code", "portfolio__name", "cause")
    date_hierarchy = "received_at"
    inlines = (FillInline,)
    fieldsets = (
        (None, {"fields": ("order_id", ("of", "epoch"), ("side", "code", "kind"), ("volume", "filled_volume"))}),
        ("Fate", {"fields": (("outcome", "reason"), ("broker", "seq", "held"), "more")}),
        ("Time and cause", {"fields": ("cause", ("event_time", "received_at", "updated_at"))}),
    )
    readonly_fields = ("of", "side", "kind", "outcome", "why", "held", "more")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, order: Order) -> SafeString | str:
        return link("portfolios.portfolio", order.portfolio_id, order.portfolio)

    @display(description="Side", ordering="direction", label=SIDE_COLOURS)
    def side(self, order: Order) -> str:
        return SIDES.get(order.direction, str(order.direction))

    @display(description="Type", ordering="price")
    def kind(self, order: Order) -> str:
        return order.order_type if order.price is None else f"{order.order_type} {amount(order.price)}"

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def outcome(self, order: Order) -> str:
        return str(OrderState(order.state).label)

    @display(description="Cash held back")
    def held(self, order: Order) -> str:
        return amount(order.reserved)

    @display(description="Reason", ordering="reason")
    def why(self, order: Order) -> str:
        return order.reason or "-"

    @display(description="See its")
    def more(self, order: Order) -> SafeString:
        links = (
            listing("market.fill", "fills", order__order_id__exact=order.pk),
            link("market.brokerorder", order.pk, "order at the broker"),
            listing("market.outboxmessage", "feedback", q=order.pk),
            listing("market.cancelrequest", "cancels", q=order.pk),
            listing("market.fencedmessage", "fenced messages", q=order.pk),
        )
        return format_html_join(" · ", "{}", ((each,) for each in links))


@admin.register(Fill)
class FillAdmin(ReadOnlyAdmin):
    list_display = ("event_time", "of", "side", "code", "volume", "paid", "worth", "costs", "to_order", "broker")
    list_filter = ("direction", ("portfolio", AutocompleteSelectFilter), "broker")
    list_select_related = ("portfolio",)
    search_fields = ("fill_id", "order__order_id", "code", "portfolio__name")
    date_hierarchy = "event_time"
    fieldsets = (
        (None, {"fields": ("fill_id", ("of", "to_order", "broker"), ("side", "code", "volume"))}),
        ("Money", {"fields": (("paid", "worth"), ("commission", "tax", "costs"))}),
        ("Time", {"fields": (("event_time", "recorded_at"),)}),
    )
    readonly_fields = ("of", "to_order", "side", "paid", "worth", "costs")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, fill: Fill) -> SafeString | str:
        return link("portfolios.portfolio", fill.portfolio_id, fill.portfolio)

    @display(description="Order")
    def to_order(self, fill: Fill) -> SafeString | str:
        return link("market.order", fill.order_id, short(fill.order_id))

    @display(description="Side", ordering="direction", label=SIDE_COLOURS)
    def side(self, fill: Fill) -> str:
        return SIDES.get(fill.direction, str(fill.direction))

    @display(description="Price", ordering="price")
    def paid(self, fill: Fill) -> str:
        return amount(fill.price)

    @display(description="Amount", ordering="amount")
    def worth(self, fill: Fill) -> str:
        return amount(fill.amount)

    @display(description="Fees")
    def costs(self, fill: Fill) -> str:
        return amount(fill.commission + fill.tax)
