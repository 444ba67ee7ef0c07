"""The admin's pages of the scheduler: nodes, plans, moves under way, requirements."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from portfolios import admin_confirm
from portfolios.admin_base import ReadOnlyAdmin, link, listing, pretty, short
from portfolios.models import Assignment
from scheduler import operations, requests
from scheduler.models import Node, Plan, PlannedMove, Requirement
from scheduler.models.node import NodeState

_SET_BY_THE_OPERATOR = frozenset({"labels", "capacity"})


@admin.register(Node)
class NodeAdmin(ModelAdmin):
    """A node is what its process says and what the operator sets: whether it serves, its labels, its capacity."""

    list_display = ("node_id", "alive", "serves", "portfolios", "room", "labels", "last_seen", "host", "version")
    list_filter = ("state", "enabled", "host", "version")
    search_fields = ("node_id", "host", "instance")
    actions = ("drain", "enable", "shut_down")
    fields = (
        ("node_id", "alive"),
        *("enabled", ("capacity", "max_portfolios"), "labels", "portfolios"),
        *(("host", "pid"), ("version", "instance")),
        *(("first_seen", "last_seen"), ("offline_since", "ailing_since")),
    )
    readonly_fields = (
        "node_id", "alive", "max_portfolios", "portfolios", "host", "pid", "version", "instance", "first_seen",
        "last_seen", "offline_since", "ailing_since",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only one that is gone may be forgotten; it is seen again if it comes back."""
        return obj is not None and obj.state == NodeState.OFFLINE and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Node, form: Any, change: bool) -> None:
        # Only what was edited: the scheduler writes the other columns meanwhile.
        edited = _SET_BY_THE_OPERATOR & set(form.changed_data)
        if edited:
            Node.objects.filter(pk=obj.pk).update(**{name: getattr(obj, name) for name in edited})
        if "enabled" in form.changed_data:
            change_it = operations.enable if obj.enabled else operations.drain
            _tell(self, request, change_it(obj.pk, str(request.user)), obj.pk)
        elif edited:
            requests.request_tick(f"node {obj.pk} edited")

    @display(description="State", label={"online": "success", "offline": "danger", "ailing": "warning"})
    def alive(self, node: Node) -> str:
        return "ailing" if node.state == NodeState.ONLINE and node.ailing_since else str(node.state)

    @display(description="In service", boolean=True, ordering="enabled")
    def serves(self, node: Node) -> bool:
        return node.enabled

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        owned = Assignment.objects.filter(node_id=OuterRef("pk")).order_by().values("node_id")
        number = Coalesce(Subquery(owned.annotate(number=Count("pk")).values("number")), 0)
        chosen: QuerySet[Node] = super().get_queryset(request).annotate(owned=number)
        return chosen

    @display(description="Portfolios", ordering="owned")
    def portfolios(self, node: Any) -> SafeString | str:
        return listing("portfolios.assignment", f"{node.owned:,}", node_id=node.pk) if node.owned else "0"

    @admin.action(description="Drain: let what they have move away", permissions=["change"])
    def drain(self, request: HttpRequest, queryset: QuerySet[Node]) -> HttpResponse | None:
        if not admin_confirm.is_answered(request):
            says = "They get nothing any more, and what they have moves to other nodes, each with a pause of a second."
            return _page(self, request, queryset, "Drain", says)
        for node in queryset:
            _tell(self, request, operations.drain(node.pk, str(request.user)), node.pk)
        return None

    @admin.action(description="Enable: put them back into service", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        for node in queryset:
            _tell(self, request, operations.enable(node.pk, str(request.user)), node.pk)

    @admin.action(description="Shut down: have their processes stop in order", permissions=["change"])
    def shut_down(self, request: HttpRequest, queryset: QuerySet[Node]) -> HttpResponse | None:
        if not admin_confirm.is_answered(request):
            says = "Their processes give back what they have and end. Whoever supervises them may start them again."
            return _page(self, request, queryset, "Shut down", says)
        for node in queryset:
            _tell(self, request, operations.shut_down(node.pk, str(request.user)), node.pk)
        return None


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = ("version", "created_at", "trigger", "node_count", "placed", "moved", "waiting")
    list_filter = ("created_at",)
    search_fields = ("version", "trigger")
    date_hierarchy = "created_at"
    fields = (("version", "created_at"), ("trigger", "node_count"), "what_moved", "what_waits", "who_runs_what")
    readonly_fields = ("what_moved", "what_waits", "who_runs_what")

    @display(description="Placed")
    def placed(self, plan: Plan) -> int:
        return len(plan.placements)

    @display(description="Moves")
    def moved(self, plan: Plan) -> int:
        return len(plan.moves)

    @display(description="Without a place")
    def waiting(self, plan: Plan) -> int:
        return len(plan.unplaced)

    @display(description="Moves")
    def what_moved(self, plan: Plan) -> SafeString:
        return pretty(plan.moves)

    @display(description="Without a place")
    def what_waits(self, plan: Plan) -> SafeString:
        return pretty(plan.unplaced)

    @display(description="Portfolio: node, epoch")
    def who_runs_what(self, plan: Plan) -> SafeString:
        return pretty(plan.placements)


@admin.register(PlannedMove)
class PlannedMoveAdmin(ReadOnlyAdmin):
    """Moves under way; one that is over is in the plans and in the command log."""

    list_display = ("of", "from_node", "to_node", "epoch", "reason", "started_at", "deadline")
    list_display_links = ("epoch",)
    list_filter = ("source", "target")
    search_fields = ("portfolio_id", "source", "target")
    fields = (("of", "epoch"), ("from_node", "to_node"), "reason", ("started_at", "deadline"), "command")
    readonly_fields = ("of", "from_node", "to_node", "command")

    @display(description="Portfolio", ordering="portfolio_id")
    def of(self, move: PlannedMove) -> SafeString | str:
        return link("portfolios.portfolio", move.portfolio_id, short(move.portfolio_id))

    @display(description="From", ordering="source")
    def from_node(self, move: PlannedMove) -> SafeString | str:
        return link("scheduler.node", move.source)

    @display(description="To", ordering="target")
    def to_node(self, move: PlannedMove) -> SafeString | str:
        return link("scheduler.node", move.target)

    @display(description="Command")
    def command(self, move: PlannedMove) -> SafeString | str:
        return link("portfolios.command", move.command_id)


@admin.register(Requirement)
class RequirementAdmin(ModelAdmin):
    """What a portfolio asks of its node beyond its market."""

    list_display = ("portfolio", "labels")
    list_select_related = ("portfolio",)
    search_fields = ("portfolio__name", "portfolio__id")
    autocomplete_fields = ("portfolio",)

    def save_model(self, request: HttpRequest, obj: Requirement, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        requests.request_tick("requirement edited")


def _page(page: ModelAdmin, request: HttpRequest, nodes: QuerySet[Any], does: str, says: str) -> HttpResponse:
    title = f"{does} {nodes[0] if len(nodes) == 1 else f'{len(nodes)} nodes'}?"
    concerned = [f"{node}, with {node.owned:,} portfolios" for node in nodes]
    return admin_confirm.page(page, request, title, says, does, concerned)


def _tell(page: ModelAdmin, request: HttpRequest, answer: operations.Answer, node_id: str) -> None:
    if answer.accepted:
        page.message_user(request, f"{node_id}: done, the scheduler follows", messages.SUCCESS)
    else:
        page.message_user(request, f"{node_id}: {answer.reason}", messages.ERROR)
