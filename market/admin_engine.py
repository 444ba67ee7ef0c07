"""The admin's pages of the engine's records, and its big red button."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from market import switch
from market.models import CancelRequest, EngineSwitch, FencedMessage, OutboxMessage
from portfolios import admin_confirm
from portfolios.admin_base import ReadOnlyAdmin, link, pretty, short

OF_PORTFOLIO = ("portfolio", AutocompleteSelectFilter)


@admin.register(CancelRequest)
class CancelRequestAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "of", "to_order", "done", "epoch", "event_time")
    list_filter = ("done", OF_PORTFOLIO)
    list_select_related = ("portfolio",)
    search_fields = ("cancel_id", "order_id", "portfolio__name")
    date_hierarchy = "received_at"
    fields = ("cancel_id", ("of", "epoch"), ("to_order", "done"), "cause", ("event_time", "received_at"))
    readonly_fields = ("of", "to_order")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, cancel: CancelRequest) -> SafeString | str:
        return link("portfolios.portfolio", cancel.portfolio_id, cancel.portfolio)

    @display(description="Order")
    def to_order(self, cancel: CancelRequest) -> SafeString | str:
        return link("market.order", cancel.order_id, short(cancel.order_id))


@admin.register(FencedMessage)
class FencedMessageAdmin(ReadOnlyAdmin):
    """What an owner said that was no longer the owner: proof that the fence held."""

    list_display = ("received_at", "of", "message_id", "epoch", "current_epoch")
    list_filter = (OF_PORTFOLIO,)
    list_select_related = ("portfolio",)
    search_fields = ("message_id", "order_id", "portfolio__name")
    date_hierarchy = "received_at"
    fields = ("message_id", ("of", "order_id"), ("epoch", "current_epoch"), "received_at", "contents")
    readonly_fields = ("of", "contents")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, fenced: FencedMessage) -> SafeString | str:
        return link("portfolios.portfolio", fenced.portfolio_id, fenced.portfolio)

    @display(description="Message")
    def contents(self, fenced: FencedMessage) -> SafeString:
        return pretty(fenced.message)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    """The feedback to each portfolio, word for word."""

    list_display = ("created_at", "of", "pseq", "to_order", "published")
    list_filter = ("published", OF_PORTFOLIO)
    list_select_related = ("portfolio",)
    search_fields = ("order_id", "portfolio__name")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    fields = (("of", "pseq"), ("to_order", "published"), "created_at", "contents")
    readonly_fields = ("of", "to_order", "contents")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, message: OutboxMessage) -> SafeString | str:
        return link("portfolios.portfolio", message.portfolio_id, message.portfolio)

    @display(description="Order")
    def to_order(self, message: OutboxMessage) -> SafeString | str:
        return link("market.order", message.order_id, short(message.order_id))

    @display(description="Message")
    def contents(self, message: OutboxMessage) -> SafeString:
        return pretty(message.message)


@admin.register(EngineSwitch)
class EngineSwitchAdmin(ModelAdmin):
    """Whether the engines may send orders. One row, so its list is its page; turning it asks first."""

    fields = ("stands", ("changed_by", "changed_at"))
    readonly_fields = ("stands", "changed_by", "changed_at")
    actions_detail = ("turn_off", "turn_on")

    def save_model(self, request: HttpRequest, obj: EngineSwitch, form: Any, change: bool) -> None:
        """Nothing: a page that was opened a while ago does not turn it back. The buttons turn it."""

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context |= {"show_save": False, "show_save_and_continue": False}
        shown: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return shown

    @display(description="Engines", label={"on": "success", "off": "danger"})
    def stands(self, row: EngineSwitch) -> str:
        return "on" if row.on else "off"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        standing = switch.read()
        row, _ = EngineSwitch.objects.get_or_create(pk=1, defaults={"on": standing.on})
        return HttpResponseRedirect(reverse("admin:market_engineswitch_change", args=[row.pk]))

    @action(
        description="Stop all trading", url_path="stop", permissions=["change"], icon="emergency_home",
        variant=ActionVariant.DANGER,
    )  # fmt: skip
    def turn_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        says = (
            "Within a second every working order is cancelled and every new one is rejected (engine_stopped), of all "
            "portfolios. It stays so, also over restarts, until somebody starts the engines again."
        )
        return self._turn(request, False, "Stop all trading?", says, "Stop all trading")

    @action(description="Let them trade", url_path="start", permissions=["change"], icon="play_arrow")
    def turn_on(self, request: HttpRequest, object_id: str) -> HttpResponse:
        says = "From now on the orders of all portfolios are sent to their brokers."
        return self._turn(request, True, "Let the engines send orders?", says, "Start the engines")

    def _turn(self, request: HttpRequest, on: bool, title: str, says: str, button: str) -> HttpResponse:
        if not admin_confirm.is_answered(request):
            return admin_confirm.page(self, request, title, says, button, [], danger=not on)
        switch.press(on, request.user.get_username())
        self.log_change(request, EngineSwitch.objects.get(pk=1), "Turned on" if on else "Turned off")
        said = "on: orders are sent" if on else "off: working orders are cancelled, new ones are rejected"
        messages.warning(request, f"The engines are {said}.")
        return HttpResponseRedirect(reverse("admin:market_engineswitch_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
