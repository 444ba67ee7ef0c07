"""The admin's pages of a portfolio's versions: what each changed, what it differs in from today, and the way back."""

from __future__ import annotations

import json
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from portfolios import admin_confirm, configs, services
from portfolios.admin_base import ReadOnlyAdmin, link, once, pretty, table
from portfolios.errors import PortfolioError
from portfolios.models import Revision


@admin.register(Revision)
class RevisionAdmin(ReadOnlyAdmin):
    """Nobody edits a version; an old one becomes the next one."""

    list_display = ("of", "version", "author", "change", "created_at")
    list_display_links = ("version",)
    list_filter = (("portfolio", AutocompleteSelectFilter), "author")
    list_select_related = ("portfolio", "author")
    search_fields = ("portfolio__name", "change")
    date_hierarchy = "created_at"
    fields = (*(("of", "version"), ("author", "created_at"), "change", "since_the_last", "until_now", "configuration"),)
    readonly_fields = ("of", "since_the_last", "until_now", "configuration")
    actions = ("compare",)
    actions_detail = ("restore",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        return cast(QuerySet[Revision], super().get_queryset(request).select_related("portfolio", "author"))

    @display(description="Portfolio", ordering="portfolio__name")
    def of(self, revision: Revision) -> SafeString | str:
        return link("portfolios.portfolio", revision.portfolio_id, revision.portfolio)

    @display(description="Changed by it")
    @once
    def since_the_last(self, revision: Revision) -> SafeString | str:
        before = Revision.objects.filter(portfolio_id=revision.portfolio_id, version__lt=revision.version)
        last = before.order_by("-version").first()
        return "It is the first." if last is None else _changes(last.config, revision.config, "Before", "After")

    @display(description="Compared with today's")
    def until_now(self, revision: Revision) -> SafeString | str:
        newest = revision.portfolio
        if newest.version == revision.version:
            return "It is the newest."
        return _changes(revision.config, newest.config, f"v{revision.version}", f"v{newest.version}, today's")

    @display(description="Configuration")
    def configuration(self, revision: Revision) -> SafeString:
        return pretty(revision.config)

    @admin.action(description="Compare two versions", permissions=["view"])
    def compare(self, request: HttpRequest, chosen: QuerySet[Revision]) -> HttpResponse | None:
        pair = list(chosen.order_by("portfolio_id", "version")[:3])
        if len(pair) != 2 or pair[0].portfolio_id != pair[1].portfolio_id:
            messages.error(request, "Choose two versions of one portfolio")
            return None
        old, new = pair
        found = _changes(old.config, new.config, f"v{old.version}", f"v{new.version}")
        title = f"{old.portfolio}: version {old.version} and version {new.version}"
        return admin_confirm.page(self, request, title, "", "", [], extra=found)

    @action(description="Restore this version", url_path="restore", permissions=["restore"], icon="history")
    def restore(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its configuration becomes the next version, in the user's name."""
        revision = self.get_queryset(request).filter(pk=object_id).first() if object_id.isdigit() else None
        if revision is None:
            raise Http404(f"there is no version {object_id}")
        portfolio = revision.portfolio
        if not admin_confirm.is_answered(request):
            return admin_confirm.page(
                self,
                request,
                f"Restore version {revision.version} of {portfolio}?",
                f"It becomes version {portfolio.version + 1}; a running portfolio goes over to it now.",
                "Restore",
                [],
                danger=False,
                extra=_changes(portfolio.config, revision.config, f"v{portfolio.version}, today's", "Then"),
            )
        try:
            after = services.rollback(portfolio.pk, revision.version, author=cast(User, request.user))
        except PortfolioError as error:
            messages.error(request, f"Nothing was restored: {error}")
        else:
            self.log_change(request, revision, f"Restored as version {after.version}")
            messages.success(request, f"{portfolio}: version {revision.version} is restored as version {after.version}")
        return HttpResponseRedirect(reverse("admin:portfolios_portfolio_change", args=[portfolio.pk]))

    def has_restore_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("portfolios.change_portfolio")


def _changes(before: Any, after: Any, *heads: str) -> SafeString | str:
    found = configs.diff(before, after)
    if not found:
        return "They do not differ."
    rows = [(each.path, _value(each.before, "gone"), _value(each.after, "new")) for each in found]
    return table(("Where", *heads), rows, wide=(1, 2))


def _value(value: Any, name: str) -> SafeString:
    shown = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return format_html('<span class="{}">{}</span>', name, shown)
