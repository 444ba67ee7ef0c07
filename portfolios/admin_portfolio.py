"""The admin's page of a portfolio: what it is, where it runs, what it has, and the way to everything it did."""

from __future__ import annotations

import json
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from portfolios import configs, reading, services
from portfolios.admin_base import SIDES, ModelForm, amount, link, listing, once, pretty, table
from portfolios.admin_config import ConfigWidget
from portfolios.admin_wishes import WishAdmin
from portfolios.decisions import DecisionsUnknown, newest
from portfolios.errors import PortfolioError
from portfolios.models import Portfolio
from portfolios.models.portfolio import DesiredState, Status

STATUS_COLOURS = {
    Status.RUNNING.label: "success",
    Status.ERROR.label: "danger",
    Status.STOPPING.label: "warning",
    Status.RELOADING.label: "warning",
}
_DECISIONS = 10
_VERSIONS = 5


class _ConfigField(forms.JSONField):
    """JSON as a person writes it."""

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


class PortfolioForm(ModelForm):
    """Name, owner and config; a faulty config is refused with each fault's path, a stale one with its version."""

    config = _ConfigField(widget=ConfigWidget)
    seen_version = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "config" in self.fields:
            cast(ConfigWidget, self.fields["config"].widget).config = self.instance.config
        if "seen_version" in self.fields:
            self.fields["seen_version"].initial = self.instance.version

    def clean_config(self) -> Any:
        config = self.cleaned_data["config"]
        faults = configs.faults_of(config, self.instance.market)
        if faults:
            raise forms.ValidationError([str(fault) for fault in faults])
        return configs.validate(config, self.instance.market)


@admin.register(Portfolio)
class PortfolioAdmin(WishAdmin):
    """A new portfolio is made by `ginkgo portfolio create`, with everything that belongs to it."""

    form = PortfolioForm
    list_display = ("name", "state", "wanted", "market", "trades_in", "owner", "where", "cash", "more")
    list_filter = ("status", "desired_state", "market", "account__kind", ("account", AutocompleteSelectFilter), "owner")
    list_per_page = 50
    list_fullwidth = True
    show_full_result_count = False
    search_fields = ("name", "id", "owner__username")
    date_hierarchy = "created_at"
    autocomplete_fields = ("owner",)
    readonly_fields: tuple[str, ...] = (
        *("id", "market", "trades_in", "cash", "version", "state", "status_reason", "wanted", "where", "now"),
        *("positions", "decisions", "versions", "document", "more", "created_at", "updated_at"),
    )
    fieldsets: Any = (
        (None, {"fields": (("name", "owner"), ("market", "trades_in"), "cash", "more")}),
        ("Now", {"fields": (("state", "wanted"), ("where", "status_reason"), "now", "positions", "decisions")}),
        ("Configuration", {"fields": ("versions", "config", "seen_version")}),
        ("Record", {"fields": ("id", ("created_at", "updated_at"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Portfolio]:
        return reading.joined(super().get_queryset(request).select_related("owner"))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may only look sees the document instead of its form."""
        if self.has_change_permission(request, obj):
            return self.fieldsets
        return [
            (title, {"fields": ("versions", "document")} if title == "Configuration" else options)
            for title, options in self.fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Whose it is decides who sees it: for those who may see users."""
        return self.readonly_fields if request.user.has_perm("auth.view_user") else (*self.readonly_fields, "owner")

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        # Read once a page: a field is asked for its contents more often than that.
        found: Any = super().get_object(request, object_id, from_field)
        if found is not None:
            found.live = reading.status_of(found, reading.figures_of([found]).get(found.id))
            found.held = services.get_positions(found.id)
        return found

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, portfolio: Portfolio) -> str:
        return str(Status(portfolio.status).label)

    @display(description="Wanted", ordering="desired_state")
    def wanted(self, portfolio: Portfolio) -> str:
        return str(DesiredState(portfolio.desired_state).label)

    @display(description="Node and epoch", ordering="assignment__node_id")
    def where(self, portfolio: Portfolio) -> SafeString | str:
        owner = portfolio.assignment
        if not owner.node_id:
            return format_html("nobody, epoch {}", owner.epoch)
        return format_html("{}, epoch {}", link("scheduler.node", owner.node_id), owner.epoch)

    @display(description="Account", ordering="account__name")
    def trades_in(self, portfolio: Portfolio) -> SafeString:
        account = portfolio.account
        return format_html(
            "{}{}",
            link("portfolios.account", account.pk, account),
            " LIVE" if account.is_live else f" ({account.kind})",
        )

    @display(description="Initial cash", ordering="initial_cash")
    def cash(self, portfolio: Portfolio) -> str:
        return amount(portfolio.initial_cash)

    @display(description="See its")
    def more(self, portfolio: Portfolio) -> SafeString:
        lists = (
            ("market.order", "orders"),
            ("market.fill", "fills"),
            ("portfolios.ledgerentry", "ledger"),
            ("portfolios.adjustment", "deposits and corrections"),
            ("portfolios.revision", "revisions"),
        )
        links = [listing(model, text, portfolio__id__exact=portfolio.id) for model, text in lists]
        links.append(cast(SafeString, link("portfolios.checkpoint", portfolio.id, "checkpoint")))
        return format_html(
            '<span class="gk-links">{}</span>', format_html_join("", "<span>{}</span>", ((each,) for each in links))
        )

    @display(description="Cash and value")
    def now(self, portfolio: Any) -> SafeString:
        status = portfolio.live
        return format_html(
            "cash {}, total value {}, as of {}",
            amount(status["cash"]),
            amount(status["total_value"]),
            f"{status['updated_at']:%Y-%m-%d %H:%M:%S} UTC",
        )

    @display(description="Positions")
    def positions(self, portfolio: Any) -> SafeString | str:
        rows = [
            (
                p["code"],
                f"{p['volume']:,}",
                f"{p['available']:,}",
                amount(p["cost_price"]),
                amount(p["last_price"]),
                amount(p["profit"]),
            )
            for p in portfolio.held
        ]
        heads = ("Code", "Volume", "Available", "Cost price", "Last price", "Profit")
        return table(heads, rows, numbers=range(1, 6))

    @display(description="Last decisions")
    @once
    def decisions(self, portfolio: Any) -> SafeString | str:
        try:
            found = newest(portfolio.id, _DECISIONS)
        except DecisionsUnknown as unknown:
            return str(unknown)
        rows = [
            (
                str(d.get("timestamp", ""))[:16].replace("T", " "),
                d.get("kind", ""),
                SIDES.get(d.get("direction", 0), ""),
                d.get("code", ""),
                f"{d.get('source', '')}: {d.get('reason', '')}",
            )
            for d in found
        ]
        return table(("Market time, UTC", "Decision", "Side", "Code", "Why"), rows, wide=(4,))

    @display(description="Last versions")
    @once
    def versions(self, portfolio: Portfolio) -> SafeString | str:
        found = portfolio.revisions.select_related("author").order_by("-version")[:_VERSIONS]
        rows = [
            (
                link("portfolios.revision", each.pk, f"v{each.version}"),
                f"{each.created_at:%Y-%m-%d %H:%M}",
                each.author or "-",
                each.change,
            )
            for each in found
        ]
        return table(("Compare, restore", "When, UTC", "Who", "What"), rows, wide=(3,))

    @display(description="Document")
    def document(self, portfolio: Portfolio) -> SafeString:
        return pretty(portfolio.config)

    def save_model(self, request: HttpRequest, obj: Portfolio, form: Any, change: bool) -> None:
        """Name and owner as they stand; a new config becomes a new version, in the user's name."""
        obj.save(update_fields=["name", "owner", "updated_at"])
        if "config" in form.changed_data:
            seen = form.cleaned_data["seen_version"]
            try:
                services.update_config(obj.id, obj.config, cast(User, request.user), expected_version=seen)
            except PortfolioError as error:
                messages.error(request, f"The configuration was not changed: {error}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Its orders and fills are the books.
        return False
