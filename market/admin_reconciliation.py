"""The admin's page of what reconciliation found, and the action by which an operator takes note of it."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from market.models import Mismatch
from market.models.reconciliation import MismatchKind, MismatchState
from portfolios.admin_base import ReadOnlyAdmin, amount, link

STATE_COLOURS = {
    MismatchState.OPEN.label: "danger",
    MismatchState.SUSPECTED.label: "warning",
    MismatchState.RESOLVED.label: "success",
}


@admin.register(Mismatch)
class MismatchAdmin(ReadOnlyAdmin):
    """`expected` is what fills and ledger say, `actual` what the portfolio's checkpoint or the broker says."""

    list_display = ("found_at", "whose", "kind", "code", "should", "is_", "size", "standing_as", "resolved_at", "noted")
    list_filter = ("state", "scope", "kind", ("portfolio", AutocompleteSelectFilter))
    list_select_related = ("portfolio", "account")
    search_fields = ("code", "portfolio__name", "account__name", "portfolio__id")
    date_hierarchy = "found_at"
    actions = ("acknowledge",)
    fieldsets = (
        (None, {"fields": (("whose", "scope"), ("kind", "code"), ("should", "is_", "size"), "pseq")}),
        ("Time", {"fields": ("standing_as", ("found_at", "seen_at", "resolved_at"), "noted")}),
    )
    readonly_fields = ("whose", "should", "is_", "size", "standing_as", "noted")

    @display(description="Of", ordering="portfolio__name")
    def whose(self, found: Mismatch) -> SafeString | str:
        if found.portfolio_id is not None:
            return link("portfolios.portfolio", found.portfolio_id, found.portfolio)
        return format_html("{} (account)", link("portfolios.account", found.account_id, found.account))

    @display(description="Expected", ordering="expected")
    def should(self, found: Mismatch) -> str:
        return _shown(found, found.expected)

    @display(description="Actual", ordering="actual")
    def is_(self, found: Mismatch) -> str:
        return _shown(found, found.actual)

    @display(description="Difference")
    def size(self, found: Mismatch) -> str:
        return _shown(found, found.actual - found.expected)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def standing_as(self, found: Mismatch) -> str:
        return str(MismatchState(found.state).label)

    @display(description="Acknowledged", ordering="acknowledged_at")
    def noted(self, found: Mismatch) -> str:
        return f"by {found.acknowledged_by}" if found.acknowledged_by else "-"

    @action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, chosen: QuerySet[Mismatch]) -> None:
        """Somebody looks after it. It stays open until the books agree; should it change, it counts as new."""
        rows = chosen.filter(state=MismatchState.OPEN, acknowledged_at=None)
        done = rows.update(acknowledged_by=request.user.get_username()[:150], acknowledged_at=datetime.now(UTC))
        messages.info(request, f"{done} acknowledged: each stays open until the books agree.")

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("market.change_mismatch"))


def _shown(found: Mismatch, value: object) -> str:
    return f"{value:,.0f}" if found.kind == MismatchKind.POSITION else amount(value)
