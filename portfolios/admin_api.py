"""The admin's pages of the API: its keys and the audit of its writes. Both are read here; a key can be ended."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from portfolios import api_keys
from portfolios.admin_base import ReadOnlyAdmin, link, pretty, short
from portfolios.models import ApiKey, AuditEntry


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Made by `ginkgo apikey create`, which shows a key once; here are its prefix and its use."""

    list_display = ("prefix", "name", "owner", "rights", "condition", "last_used_at", "expires_at", "created_at")
    list_filter = ("owner",)
    list_select_related = ("owner",)
    search_fields = ("prefix", "name", "owner__username")
    date_hierarchy = "created_at"
    fields = (
        ("prefix", "name"),
        ("owner", "rights", "condition"),
        ("created_at", "last_used_at"),
        ("expires_at", "revoked_at"),
    )
    readonly_fields = ("rights", "condition")
    actions = ("revoke",)

    @display(description="Scopes")
    def rights(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="State", label={"active": "success", "expired": "warning", "revoked": "danger"})
    def condition(self, key: ApiKey) -> str:
        return key.state(datetime.now(UTC))

    @admin.action(description="Revoke for good", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        now = datetime.now(UTC)
        for key in queryset:
            api_keys.revoke(key.prefix, now)
        self.message_user(request, f"{len(queryset)} revoked", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("portfolios.change_apikey")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "who", "via", "address", "action", "of", "what")
    list_filter = ("action", "who")
    search_fields = ("who", "target", "action", "path", "address")
    date_hierarchy = "at"
    fields = (
        ("at", "who", "via"),
        ("address", "forwarded_for"),
        ("action", "of"),
        ("method", "path", "idempotency_key"),
        "detail",
    )
    readonly_fields = ("of", "detail")

    @display(description="Target", ordering="target")
    def of(self, entry: AuditEntry) -> SafeString | str:
        if entry.action.startswith("portfolio."):
            return link("portfolios.portfolio", entry.target, short(entry.target))
        if entry.action.startswith("node."):
            return link("scheduler.node", entry.target)
        return entry.target or "-"

    @display(description="Changed")
    def what(self, entry: AuditEntry) -> str:
        return ", ".join(entry.changes) or "nothing"

    @display(description="Before and after")
    def detail(self, entry: AuditEntry) -> SafeString:
        return pretty(entry.changes)
