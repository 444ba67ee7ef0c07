"""The admin's menu: what a user may see, in groups."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

# Group: (title, icon, admin page, permission).
_MENU = {
    "Trading": (
        ("Portfolios", "account_balance_wallet", "portfolios_portfolio"),
        ("Accounts", "account_balance", "portfolios_account"),
        ("Orders", "swap_horiz", "market_order"),
        ("Fills", "check_circle", "market_fill"),
        ("Ledger", "menu_book", "portfolios_ledgerentry"),
        ("Deposits, corrections", "price_change", "portfolios_adjustment"),
        ("Revisions", "history", "portfolios_revision"),
        ("Cancels", "cancel", "market_cancelrequest"),
        ("Differences", "difference", "market_mismatch"),
        ("Engine switch", "power_settings_new", "market_engineswitch"),
        ("Broker's orders", "storefront", "market_brokerorder"),
        ("Broker's fills", "receipt_long", "market_brokerfill"),
    ),
    "Cluster": (
        ("Nodes", "dns", "scheduler_node"),
        ("Assignments", "assignment_ind", "portfolios_assignment"),
        ("Plans", "account_tree", "scheduler_plan"),
        ("Planned moves", "move_down", "scheduler_plannedmove"),
        ("Requirements", "rule", "scheduler_requirement"),
        ("Commands", "terminal", "portfolios_command"),
        ("Checkpoints", "save", "portfolios_checkpoint"),
        ("Feedback outbox", "outbox", "market_outboxmessage"),
        ("Fenced messages", "fence", "market_fencedmessage"),
    ),
    "Alerts": (
        ("Alerts", "notifications", "alerts_alert"),
        ("Rules", "notification_settings", "alerts_rule"),
        ("Channels", "campaign", "alerts_channel"),
        ("Notifications", "outgoing_mail", "alerts_notification"),
    ),
    "Beat": (
        ("Periodic tasks", "schedule", "django_celery_beat_periodictask"),
        ("Intervals", "timer", "django_celery_beat_intervalschedule"),
        ("Crontabs", "calendar_month", "django_celery_beat_crontabschedule"),
    ),
    "Users": (
        ("Users", "person", "auth_user"),
        ("Groups", "group", "auth_group"),
        ("API keys", "key", "portfolios_apikey"),
        ("API audit", "policy", "portfolios_auditentry"),
    ),
}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, of the pages that this user may see."""
    groups: list[dict[str, Any]] = [
        {"title": "", "items": [{"title": "Overview", "icon": "monitoring", "link": reverse("admin:index")}]}
    ]
    for title, entries in _MENU.items():
        items = []
        for name, icon, page in entries:
            app, _, model = page.rpartition("_")
            try:
                url = reverse(f"admin:{page}_changelist")
            except NoReverseMatch:
                continue
            if request.user.has_perm(f"{app}.view_{model}"):
                items.append({"title": name, "icon": icon, "link": url})
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups
