"""The admin's pages of accounts, and of what people changed in portfolios' books."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.validators import RegexValidator
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from portfolios import accounts
from portfolios.admin_base import ModelForm, ReadOnlyAdmin, amount, link, listing
from portfolios.models import Account, Adjustment
from portfolios.models.account import CURRENCIES, SIMULATION, Kind
from portfolios.models.adjustment import AdjustmentState

KIND_COLOURS = {Kind.LIVE.label: "danger", Kind.PAPER.label: "info"}
STATE_COLOURS = {
    AdjustmentState.APPLIED.label: "success",
    AdjustmentState.REFUSED.label: "danger",
    AdjustmentState.PENDING.label: "warning",
}
_BROKER = RegexValidator(accounts.BROKER, "A name as under brokers in the configuration: like my-broker.")


class AccountForm(ModelForm):
    currency = forms.ChoiceField(
        choices=[(each, each) for each in dict.fromkeys(CURRENCIES.values())], widget=UnfoldAdminSelectWidget
    )
    broker = forms.CharField(max_length=40, initial=SIMULATION, validators=[_BROKER], widget=UnfoldAdminTextInputWidget)


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    """What it is stays: an order that trades elsewhere than its portfolio thinks is worse than a second account."""

    form = AccountForm
    list_display = ("name", "sort", "broker", "currency", "owner", "rate", "value", "turnover", "holds")
    list_filter = ("kind", "broker", "currency")
    list_fullwidth = True
    search_fields = ("name", "id", "owner__username")
    autocomplete_fields = ("owner",)
    fieldsets = (
        (None, {"fields": (("name", "owner"), ("kind", "broker", "currency"))}),
        ("All of its portfolios together", {"fields": accounts.LIMITS}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        chosen: QuerySet[Account] = super().get_queryset(request).select_related("owner")
        return chosen.annotate(portfolio_count=Count("portfolios"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("owner", "kind", "broker", "currency")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Kind", ordering="kind", label=KIND_COLOURS)
    def sort(self, account: Account) -> str:
        return str(Kind(account.kind).label)

    @display(description="Orders a minute", ordering="max_orders_per_minute")
    def rate(self, account: Account) -> str:
        return "-" if account.max_orders_per_minute is None else str(account.max_orders_per_minute)

    @display(description="Largest order", ordering="max_order_value")
    def value(self, account: Account) -> str:
        return amount(account.max_order_value)

    @display(description="Turnover a day", ordering="max_daily_turnover")
    def turnover(self, account: Account) -> str:
        return amount(account.max_daily_turnover)

    @display(description="Portfolios", ordering="portfolio_count")
    def holds(self, account: Any) -> SafeString:
        return listing("portfolios.portfolio", str(account.portfolio_count), account__id__exact=account.pk)


@admin.register(Adjustment)
class AdjustmentAdmin(ReadOnlyAdmin):
    """Asked for by `ginkgo portfolio deposit`, `withdraw` and `correct`, and booked by whoever owns the portfolio."""

    list_display = ("requested_at", "of", "kind", "cash", "code", "volume", "author", "reason", "fate", "outcome")
    list_filter = (("portfolio", AutocompleteSelectFilter), "kind", "state", "author")
    list_select_related = ("portfolio", "author")
    search_fields = ("portfolio__name", "portfolio__id", "code", "reason", "request_id")
    date_hierarchy = "requested_at"
    fields = (
        *(("of", "kind", "fate"), ("cash", "code", "volume", "at"), "reason", ("author", "requested_at")),
        *(("settled_at", "outcome"), "held_since", "request_id"),
    )
    readonly_fields = ("of", "cash", "at", "fate")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, asked: Adjustment) -> SafeString | str:
        return link("portfolios.portfolio", asked.portfolio_id, asked.portfolio)

    @display(description="Cash", ordering="amount")
    def cash(self, asked: Adjustment) -> str:
        return "-" if asked.code else amount(asked.amount)

    @display(description="Price")
    def at(self, asked: Adjustment) -> str:
        return amount(asked.price)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def fate(self, asked: Adjustment) -> str:
        return str(AdjustmentState(asked.state).label)
