"""The admin's page of alerts: the newest first, as MongoDB has them, what keeps coming in one row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts import queries
from alerts.digest import SEVERITIES
from alerts.errors import StoreAway
from alerts.models import Alert
from alerts.queries import Answer, Question
from alerts.store import AlertStore
from alerts.visibility import portfolios_of
from portfolios.admin_base import ReadOnlyAdmin, link, pretty

SEVERITY_COLOURS = {"info": "info", "warning": "warning", "critical": "danger"}
_FILTERS = ("severity", "source", "type", "period", "episode")
_PAGE = 50
_PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
_STORE = AlertStore()


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """There is no table behind it: both of its pages ask MongoDB."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {
            name: request.GET.get(name, "").strip() for name in ("severity", "source", "type", "period", "episode")
        }
        page = int(number) if (number := request.GET.get("page", "")).isdigit() and len(number) < 6 else 0
        question = Question(
            start=datetime.now(UTC) - _PERIODS[asked["period"]] if asked["period"] in _PERIODS else None,
            severity=asked["severity"] if asked["severity"] in SEVERITIES else None,
            source=asked["source"] or None,
            alert_type=asked["type"] or None,
            episode=asked["episode"] or None,
            portfolios=portfolios_of(request.user),
            limit=_PAGE,
            offset=page * _PAGE,
        )
        note = ""
        try:
            answer = queries.ask(_STORE, question)
        except StoreAway as error:
            answer, note = Answer([], 0), str(error)
        context = {
            **self.admin_site.each_context(request),
            "title": "Alerts",
            "opts": self.opts,
            "asked": asked,
            "severities": SEVERITIES,
            "periods": list(_PERIODS),
            "note": note,
            "total": answer.total_count,
            "table": _table(answer),
            "before": _address(request, page - 1) if page else "",
            "after": _address(request, page + 1) if (page + 1) * _PAGE < answer.total_count else "",
        }
        return render(request, "admin/alerts/alert/list.html", context)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if object_id is None or not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Alert", "opts": self.opts}
        try:
            found = queries.one(_STORE, object_id, portfolios_of(request.user))
        except StoreAway as error:
            return render(request, "admin/alerts/alert/list.html", {**context, "note": str(error)})
        if found is None:
            raise Http404("there is no such alert any more: they are kept for seven days")
        context |= {"table": _facts(found), "details": pretty(found["details"]) if found["details"] else ""}
        return render(request, "admin/alerts/alert/list.html", context)


def _table(answer: Answer) -> dict[str, Any]:
    return {
        "headers": ["Time, UTC", "Severity", "Type", "Source", "Message", "Times"],
        "rows": [
            [
                link("alerts.alert", each["alert_id"], f"{each['timestamp']:%Y-%m-%d %H:%M:%S}"),
                _label(each["severity"]),
                each["alert_type"],
                each["source"],
                each["message"],
                _times(each),
            ]
            for each in answer.alerts
        ],
    }


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    portfolio = found["details"].get("portfolio_id")
    rows = [
        ["Time, UTC", f"{found['timestamp']:%Y-%m-%d %H:%M:%S}"],
        ["Severity", _label(found["severity"])],
        ["Type", found["alert_type"]],
        ["Source", found["source"]],
        ["Message", found["message"]],
        ["Portfolio", link("portfolios.portfolio", portfolio) if isinstance(portfolio, str) else "-"],
        ["Episode", _episode(found["episode"], "all of its alerts")],
        ["Id", found["alert_id"]],
    ]
    return {"headers": [], "rows": rows}


def _times(each: dict[str, Any]) -> SafeString | str:
    if each.get("count", 1) <= 1:
        return "1"
    return _episode(each["episode"], f"{each['count']:,} since {each['first_seen']:%m-%d %H:%M:%S}")


def _episode(episode: str, text: str) -> SafeString:
    url = reverse("admin:alerts_alert_changelist")
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500 whitespace-nowrap" href="{}?{}">{}</a>',
        url,
        urlencode({"episode": episode}),
        text,
    )


def _label(severity: str) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": severity, "type": SEVERITY_COLOURS.get(severity)})


def _address(request: HttpRequest, page: int) -> str:
    query = request.GET.copy()
    query["page"] = str(page)
    return f"?{query.urlencode()}"
