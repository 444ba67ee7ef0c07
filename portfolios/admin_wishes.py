"""What an operator wants of portfolios, from their list and from a page: start, stop, reload. A node makes it true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action

from portfolios import admin_confirm, services
from portfolios.errors import PortfolioError
from portfolios.models import Portfolio

Asked = Callable[[HttpRequest, QuerySet[Portfolio]], HttpResponse | None]


class WishAdmin(ModelAdmin):
    """The buttons. What stops trading or trades real money asks first; from a portfolio's own page everything does."""

    actions: Sequence[str] = ("start_selected", "stop_selected", "reload_selected")
    actions_detail: Sequence[str] = ("start_it", "stop_it", "reload_it")

    @admin.action(description="Start", permissions=["change"])
    def start_selected(self, request: HttpRequest, chosen: QuerySet[Portfolio]) -> HttpResponse | None:
        """Paper at once; real money only after a page that says so."""
        real = [each for each in chosen if each.account.is_live]
        return self._start(request, chosen, ask=bool(real))

    @admin.action(description="Stop", permissions=["change"])
    def stop_selected(self, request: HttpRequest, chosen: QuerySet[Portfolio]) -> HttpResponse | None:
        if not admin_confirm.is_answered(request):
            says = "Orders that are not answered yet are cancelled. What they hold, they keep, and nobody watches it."
            return admin_confirm.page(self, request, f"Stop {_count(chosen)}?", says, "Stop", _told(chosen))
        return self._ask(request, chosen, lambda one: services.stop(one.pk, _who(request)), "was asked to stop")

    @admin.action(description="Reload", permissions=["change"])
    def reload_selected(self, request: HttpRequest, chosen: QuerySet[Portfolio]) -> HttpResponse | None:
        return self._ask(request, chosen, lambda one: services.reload(one.pk, _who(request)), _reloaded)

    @action(description="Start", url_path="start", permissions=["change"], icon="play_arrow")
    def start_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.one(request, object_id, lambda request, chosen: self._start(request, chosen, ask=True))

    @action(description="Stop", url_path="stop", permissions=["change"], icon="stop")
    def stop_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.one(request, object_id, self.stop_selected)

    @action(description="Reload", url_path="reload", permissions=["change"], icon="refresh")
    def reload_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.one(request, object_id, self._reload)

    def one(self, request: HttpRequest, object_id: str, do: Asked) -> HttpResponse:
        """A list's action on one portfolio; then back to its page. Raises Http404."""
        chosen = self.get_queryset(request).filter(pk=object_id)
        if not chosen:
            raise Http404(f"there is no portfolio {object_id}")
        asked = do(request, chosen)
        return asked or HttpResponseRedirect(reverse("admin:portfolios_portfolio_change", args=[object_id]))

    def _start(self, request: HttpRequest, chosen: QuerySet[Portfolio], ask: bool) -> HttpResponse | None:
        real = [each for each in chosen if each.account.is_live]
        if ask and not admin_confirm.is_answered(request):
            says = "The scheduler finds a node for each."
            if real:
                says = f"{len(real)} of them trade REAL MONEY: their orders go to a broker. {says}"
            button = "Start, with real money" if real else "Start"
            title = f"Start {_count(chosen)}?"
            return admin_confirm.page(self, request, title, says, button, _told(chosen), danger=bool(real))
        who = _who(request)
        return self._ask(request, chosen, lambda one: services.start(one.pk, ask, who), "was asked to run")

    def _reload(self, request: HttpRequest, chosen: QuerySet[Portfolio]) -> HttpResponse | None:
        if not admin_confirm.is_answered(request):
            says = "Its node loads the newest version of its configuration: it pauses for a moment and loses nothing."
            title = f"Reload {_count(chosen)}?"
            return admin_confirm.page(self, request, title, says, "Reload", _told(chosen), danger=False)
        return self.reload_selected(request, chosen)

    def _ask(
        self,
        request: HttpRequest,
        chosen: Iterable[Portfolio],
        wish: Callable[[Portfolio], Portfolio],
        said: str | Callable[[Portfolio], str],
    ) -> HttpResponse | None:
        """A node makes it true, so the page says what was asked, not what is; each portfolio's history keeps it."""
        for portfolio in chosen:
            try:
                asked = wish(portfolio)
            except PortfolioError as error:
                messages.error(request, f"{portfolio}: {error}")
            else:
                words = said if isinstance(said, str) else said(asked)
                self.log_change(request, portfolio, words[0].upper() + words[1:])
                messages.success(request, f"{portfolio} {words}")
        return None


def _who(request: HttpRequest) -> str:
    return request.user.get_username()


def _reloaded(asked: Portfolio) -> str:
    return "was asked to reload" if asked.assignment.node_id else "is on no node: its next start takes the newest"


def _count(chosen: Sequence[Portfolio] | QuerySet[Portfolio]) -> str:
    return f"{chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} portfolios"


def _told(chosen: Iterable[Portfolio]) -> list[str]:
    return [
        f"{each}: {each.account} {'LIVE, real money at ' + each.account.broker if each.account.is_live else '(paper)'}"
        for each in chosen
    ]
