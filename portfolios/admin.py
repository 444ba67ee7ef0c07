"""The admin's pages of the portfolios' own tables."""

from __future__ import annotations

from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from portfolios.admin_api import ApiKeyAdmin, AuditEntryAdmin
from portfolios.admin_base import SIDE_COLOURS, SIDES, ReadOnlyAdmin, amount, link, named, pretty, short
from portfolios.admin_money import AccountAdmin, AdjustmentAdmin
from portfolios.admin_portfolio import PortfolioAdmin
from portfolios.admin_revision import RevisionAdmin
from portfolios.kernel import state as snapshots
from portfolios.models import Assignment, Checkpoint, Command, LedgerEntry
from portfolios.models.command import CommandState

__all__ = ["AccountAdmin", "AdjustmentAdmin", "ApiKeyAdmin", "AuditEntryAdmin", "PortfolioAdmin", "RevisionAdmin"]

OF_PORTFOLIO = ("portfolio", AutocompleteSelectFilter)
COMMAND_COLOURS = {
    CommandState.DONE.label: "success",
    CommandState.FAILED.label: "danger",
    CommandState.REJECTED.label: "danger",
    CommandState.EXPIRED.label: "warning",
    CommandState.RUNNING.label: "info",
}


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin):
    """Who owns what. A human moves a portfolio by `ginkgo scheduler migrate`, never here: the epoch is the law."""

    list_display = ("of", "node", "epoch", "reason", "updated_at")
    list_display_links = ("epoch",)
    list_filter = ("node_id",)
    list_select_related = ("portfolio",)
    search_fields = ("portfolio__name", "portfolio__id", "node_id", "reason")
    date_hierarchy = "updated_at"
    fields = ("of", "node", "epoch", "reason", "updated_at")
    readonly_fields = ("of", "node")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, assignment: Assignment) -> SafeString | str:
        return link("portfolios.portfolio", assignment.pk, assignment.portfolio)

    @display(description="Node", ordering="node_id", empty_value="nobody")
    def node(self, assignment: Assignment) -> SafeString | str | None:
        return link("scheduler.node", assignment.node_id) if assignment.node_id else None


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("of", "epoch", "saved_at", "pseq", "config_version", "incarnation", "size")
    list_display_links = ("epoch",)
    list_select_related = ("portfolio",)
    search_fields = ("portfolio__name", "portfolio__id")
    date_hierarchy = "saved_at"
    fields = (
        *("of", ("epoch", "incarnation", "config_version"), ("saved_at", "pseq", "size")),
        *("next_offsets", "contents"),
    )
    readonly_fields = ("of", "size", "next_offsets", "contents")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Checkpoint]:
        chosen: QuerySet[Checkpoint] = super().get_queryset(request).annotate(bytes_of_state=Length("state"))
        match = request.resolver_match
        # A list of states would be megabytes, to show their sizes.
        return chosen if match is not None and "object_id" in match.kwargs else chosen.defer("state")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, checkpoint: Checkpoint) -> SafeString | str:
        return link("portfolios.portfolio", checkpoint.pk, checkpoint.portfolio)

    @display(description="State, bytes", ordering="bytes_of_state")
    def size(self, checkpoint: Any) -> str:
        return f"{checkpoint.bytes_of_state:,}"

    @display(description="Next offsets")
    def next_offsets(self, checkpoint: Checkpoint) -> SafeString:
        return pretty(checkpoint.offsets)

    @display(description="State (money in units of 0.0001)")
    def contents(self, checkpoint: Checkpoint) -> SafeString | str:
        state = bytes(checkpoint.state)
        if not state:
            return "It has never run."
        try:
            return pretty(named(snapshots.decode(state)))
        except msgspec.MsgspecError as error:
            return f"Not readable by this version: {error}"


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "command_type", "target", "node", "outcome", "issued_by", "door", "result")
    list_filter = ("state", "command_type", "door")
    search_fields = ("command_id", "target_id", "node_id", "issued_by", "result")
    date_hierarchy = "created_at"
    fields = (
        *("command_id", ("command_type", "target"), ("node", "epoch"), ("outcome", "result"), ("issued_by", "door")),
        *(("created_at", "expires_at"), ("started_at", "finished_at"), "parameters"),
    )
    readonly_fields = ("target", "node", "outcome", "parameters")

    @display(description="Target")
    def target(self, command: Command) -> SafeString | str:
        if command.command_type.startswith("portfolio."):
            return link("portfolios.portfolio", command.target_id, short(command.target_id))
        if command.command_type.startswith("node."):
            return link("scheduler.node", command.target_id)
        return command.target_id

    @display(description="Sent to", ordering="node_id")
    def node(self, command: Command) -> SafeString | str:
        return link("scheduler.node", command.node_id)

    @display(description="State", ordering="state", label=COMMAND_COLOURS)
    def outcome(self, command: Command) -> str:
        return str(CommandState(command.state).label)

    @display(description="Parameters")
    def parameters(self, command: Command) -> SafeString:
        return pretty(command.params)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("event_time", "of", "kind", "pseq", "code", "side", "volume", "paid", "costs", "change", "cause")
    list_filter = (OF_PORTFOLIO, "kind", "direction")
    list_select_related = ("portfolio",)
    search_fields = ("portfolio__name", "portfolio__id", "order_id", "code")
    date_hierarchy = "event_time"
    ordering = ("-event_time", "-id")
    fields = (
        *(("of", "kind", "pseq"), ("code", "side", "volume"), ("paid", "costs", "change"), ("cause", "event_time")),
    )
    readonly_fields = ("of", "side", "paid", "costs", "change", "cause")

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, entry: LedgerEntry) -> SafeString | str:
        return link("portfolios.portfolio", entry.portfolio_id, entry.portfolio)

    @display(description="Side", ordering="direction", label=SIDE_COLOURS)
    def side(self, entry: LedgerEntry) -> str:
        return SIDES.get(entry.direction, "-")

    @display(description="Price", ordering="price")
    def paid(self, entry: LedgerEntry) -> str:
        return amount(entry.price)

    @display(description="Fees", ordering="fees")
    def costs(self, entry: LedgerEntry) -> str:
        return amount(entry.fees)

    @display(description="Cash", ordering="cash_change")
    def change(self, entry: LedgerEntry) -> str:
        return amount(entry.cash_change)

    @display(description="Order, or request")
    def cause(self, entry: LedgerEntry) -> SafeString | str:
        if entry.adjustment_id is not None:
            return link("portfolios.adjustment", entry.adjustment_id, entry.kind)
        return link("market.order", entry.order_id, short(entry.order_id))
