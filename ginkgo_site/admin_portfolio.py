"""The admin's page of a portfolio, whole: with what the engine, history and the scheduler know of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from market.api.history import thinned
from market.history.errors import HistoryAway
from market.history.reader import Reader
from market.models import Order
from market.models.order import OrderState
from portfolios import admin_confirm
from portfolios.admin_base import SIDES, amount, link, listing, once, table
from portfolios.admin_portfolio import PortfolioAdmin as BasePortfolioAdmin
from portfolios.models import Portfolio
from portfolios.report.chart import MOST_POINTS, Chart
from scheduler import operations
from scheduler.models import Node
from scheduler.models.node import NodeState

log = logging.getLogger(__name__)

_PATIENCE = 2.0
_ORDERS = 10
_HEIGHT = 260

admin.site.unregister(Portfolio)


class TargetForm(forms.Form):
    """Where to: the nodes that are alive and serve."""

    target_node = forms.ChoiceField(label="To which node", widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nodes = Node.objects.filter(state=NodeState.ONLINE, enabled=True).values_list("node_id", flat=True)
        self.fields["target_node"].choices = [(each, each) for each in nodes]  # type: ignore[attr-defined]


@admin.register(Portfolio)
class PortfolioAdmin(BasePortfolioAdmin):
    """Its orders and its equity beside its books, and the button that moves it."""

    actions = (*BasePortfolioAdmin.actions, "migrate_selected")
    actions_detail = (*BasePortfolioAdmin.actions_detail, "migrate_it")
    readonly_fields = (*BasePortfolioAdmin.readonly_fields, "equity", "orders")
    fieldsets = (
        BasePortfolioAdmin.fieldsets[0],
        (
            "Now",
            {
                "fields": (
                    *(("state", "wanted"), ("where", "status_reason"), "now", "equity"),
                    *("positions", "orders", "decisions"),
                )
            },
        ),
        *BasePortfolioAdmin.fieldsets[2:],
    )

    @display(description="Total value")
    @once
    def equity(self, portfolio: Portfolio) -> SafeString | str:
        try:
            with Reader(timeout=_PATIENCE) as reader:
                points = thinned(reader.equity(portfolio.pk), MOST_POINTS)
        except HistoryAway as error:
            log.info("The admin's page of a portfolio is without its history: %s", error)
            return f"History is not known now: {error}"
        if len(points) < 2:
            return "no history yet"
        return _chart([p.timestamp for p in points], [p.total_value for p in points], float(portfolio.initial_cash))

    @display(description="Last orders")
    @once
    def orders(self, portfolio: Portfolio) -> SafeString | str:
        found = Order.objects.filter(portfolio_id=portfolio.pk).order_by("-received_at")[:_ORDERS]
        rows = [
            (
                link("market.order", each.pk, f"{each.event_time:%Y-%m-%d %H:%M}"),
                SIDES.get(each.direction, ""),
                each.code,
                f"{each.filled_volume:,} of {each.volume:,}",
                "market" if each.price is None else amount(each.price),
                OrderState(each.state).label,
                each.reason or "-",
            )
            for each in found
        ]
        shown = table(
            ("Market time, UTC", "Side", "Code", "Filled", "Price", "State", "Reason"), rows, numbers=(3, 4), wide=(6,)
        )
        more = listing("market.order", "all of them", portfolio__id__exact=portfolio.pk)
        return format_html("{}{}", shown, more) if rows else shown

    @admin.action(description="Migrate", permissions=["operate"])
    def migrate_selected(self, request: HttpRequest, chosen: QuerySet[Portfolio]) -> HttpResponse | None:
        """Moves them to a node of the operator's choice; the scheduler does it, without losing or repeating a thing."""
        form = TargetForm(request.POST if admin_confirm.is_answered(request) else None)
        if not form.is_valid():
            title = f"Move {chosen[0] if len(chosen) == 1 else f'{len(chosen)} portfolios'}?"
            says = "Each pauses for about a second. Its open orders are answered to, and watched by, the new node."
            where = [f"{each}: on {each.assignment.node_id or 'no node'}" for each in chosen]
            return admin_confirm.page(self, request, title, says, "Move", where, danger=False, form=form)
        target, who = form.cleaned_data["target_node"], request.user.get_username()
        for portfolio in chosen:
            answer = operations.migrate(portfolio.pk, target, issued_by=who)
            if answer.accepted:
                self.log_change(request, portfolio, f"Was asked to move to {target}")
                messages.success(request, f"{portfolio} moves from {answer.source_node or 'no node'} to {target}")
            else:
                messages.error(request, f"{portfolio}: {answer.reason}")
        return None

    @action(description="Migrate", url_path="migrate", permissions=["operate"], icon="move_down")
    def migrate_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.one(request, object_id, self.migrate_selected)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("scheduler.change_node")


def _chart(at: Sequence[datetime], values: Sequence[float], start: float) -> SafeString:
    drawn = Chart(at, values, _HEIGHT, lambda value: f"{value:,.0f}", extra=[start])
    first, last = at[0], at[-1]
    label = f"Total value from {first:%Y-%m-%d} to {last:%Y-%m-%d}, market time"
    # The chart escapes every text that it is given.
    return format_html('<div class="gk-chart">{}</div>', mark_safe(drawn.line(label, reference=start)))
