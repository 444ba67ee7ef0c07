"""The admin: every page opens, quickly, links to its neighbours, and lets nobody write what the platform writes."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from market import switch
from market.models import (
    BrokerFill,
    BrokerOrder,
    CancelRequest,
    EngineSwitch,
    FencedMessage,
    Fill,
    Mismatch,
    Order,
    OutboxMessage,
)
from portfolios import accounts, services
from portfolios.models import (
    Account,
    Adjustment,
    Assignment,
    Checkpoint,
    Command,
    LedgerEntry,
    Portfolio,
    Revision,
)
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

WRITTEN_BY_THE_PLATFORM: list[Any] = [
    *(
        Adjustment,
        Assignment,
        BrokerFill,
        BrokerOrder,
        CancelRequest,
        Checkpoint,
        Command,
        FencedMessage,
        Fill,
        LedgerEntry,
    ),
    *(Mismatch, Order, OutboxMessage, Revision),
]
ALL = [Account, Portfolio, *WRITTEN_BY_THE_PLATFORM]


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(books.administrator())
    return client


def changelist(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def shown(browser: Client, url: str, **query: Any) -> str:
    answer = browser.get(url, query)
    assert answer.status_code == 200, (url, answer.status_code, answer.get("Location"))
    return answer.content.decode()


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_a_list_costs_the_same_few_queries_however_long_it_is(browser: Client, model: Any) -> None:
    books.all_of_it(portfolios=2, orders_each=1)
    shown(browser, changelist(model))
    with CaptureQueriesContext(
        connection,
    ) as few:
        shown(browser, changelist(model))
    books.all_of_it(portfolios=4, orders_each=5)
    with CaptureQueriesContext(connection) as many:
        shown(browser, changelist(model))
    assert len(many) <= 10, [query["sql"] for query in many]
    assert len(many) <= len(few) + 1  # a longer list may ask for its date hierarchy's days


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_every_row_has_a_page_in_few_queries(browser: Client, model: Any) -> None:
    books.all_of_it(portfolios=1, orders_each=2)
    with CaptureQueriesContext(connection) as queries:
        shown(browser, page(model.objects.first()))
    assert len(queries) <= 10, [query["sql"] for query in queries]


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_every_list_can_be_searched(browser: Client, model: Any) -> None:
    books.all_of_it(portfolios=1, orders_each=1)
    url = page(model.objects.first())
    assert url in shown(browser, changelist(model))
    assert url not in shown(browser, changelist(model), q="nothing-is-called-this")


@pytest.mark.parametrize("model", WRITTEN_BY_THE_PLATFORM, ids=lambda model: model.__name__)
def test_what_the_platform_writes_nobody_else_does(browser: Client, model: Any) -> None:
    books.all_of_it(portfolios=1, orders_each=1)
    row = model.objects.first()
    before = model.objects.filter(pk=row.pk).values().get()
    add = changelist(model) + "add/"
    assert browser.get(add).status_code == 403
    assert browser.post(page(row), {"epoch": 9, "state": "x"}).status_code == 403
    assert browser.post(page(row).replace("change", "delete"), {"post": "yes"}).status_code == 403
    answer = browser.post(changelist(model), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})
    assert answer.status_code in (200, 302, 403)
    assert model.objects.filter(pk=row.pk).values().get() == before


def test_the_portfolios_list_shows_what_an_operator_asks_first(browser: Client) -> None:
    made = books.all_of_it(portfolios=1, orders_each=1)[0]
    text = shown(browser, changelist(Portfolio))
    for word in ("Portfolio 0", "Running", "A-shares", "root", "node-1", "epoch 3", "1,000,000.00"):
        assert word in text
    for model in (Order, Fill, LedgerEntry, Adjustment, Revision):
        assert f"{changelist(model)}?portfolio__id__exact={made.pk}" in text
    assert page(made.checkpoint) in text


def test_the_links_of_a_portfolio_lead_to_its_own_rows_only(browser: Client) -> None:
    one, other = books.all_of_it(portfolios=2, orders_each=1)
    for model in (Order, Fill, LedgerEntry, Revision):
        text = shown(browser, changelist(model), portfolio__id__exact=one.pk)
        assert page(model.objects.filter(portfolio=one).first()) in text
        assert page(model.objects.filter(portfolio=other).first()) not in text


def test_an_orders_page_leads_to_its_fills_its_feedback_and_the_brokers_word(browser: Client) -> None:
    made = books.all_of_it(portfolios=1, orders_each=1)[0]
    order = Order.objects.get(portfolio=made)
    text = shown(browser, page(order))
    assert Fill.objects.get(order=order).fill_id in text
    assert page(BrokerOrder.objects.get(pk=order.pk)) in text
    assert f"{changelist(OutboxMessage)}?q={order.pk}" in text
    assert page(made) in text
    for model in (OutboxMessage, CancelRequest, FencedMessage):
        assert page(model.objects.get(order_id=order.pk)) in shown(browser, changelist(model), q=order.pk)
    text = shown(browser, changelist(Fill), order__order_id__exact=order.pk)
    assert page(Fill.objects.get(order=order)) in text


def test_a_checkpoints_state_is_shown_by_name(browser: Client) -> None:
    made = books.all_of_it(portfolios=1, orders_each=0)[0]
    text = shown(browser, page(Checkpoint.objects.get(portfolio=made)))
    for word in ("ledger", "TrendFollowStrategy", "ginkgo.live.market.data", "incarnation"):
        assert word in text


def test_a_checkpoint_that_cannot_be_read_says_so(browser: Client) -> None:
    made = books.all_of_it(portfolios=1, orders_each=0)[0]
    Checkpoint.objects.filter(portfolio=made).update(state=b"{]")
    assert "Not readable by this version" in shown(browser, page(made.checkpoint))


def test_a_portfolio_that_never_ran_has_a_page_too(browser: Client) -> None:
    made = books.portfolio("Fresh", books.administrator(), ran=False)
    text = shown(browser, page(made))
    assert "nobody, epoch 0" in text
    assert "total value 1,000,000.00" in text
    assert "It has never run." in shown(browser, page(made.checkpoint))


class TestEditingAPortfolio:
    def post(self, browser: Client, made: Portfolio, **changes: Any) -> str:
        data = {
            "name": made.name,
            "owner": made.owner_id,
            "config": json.dumps(made.config),
            "seen_version": 1,
            **changes,
        }
        return browser.post(page(made), data, follow=True).content.decode()

    def test_its_name_can_be_changed_and_its_books_not(self, browser: Client) -> None:
        made = books.all_of_it(portfolios=1, orders_each=1)[0]
        self.post(browser, made, name="Renamed", status="error", initial_cash="1", version="9", desired_state="stopped")
        after = Portfolio.objects.get(pk=made.pk)
        assert (after.name, after.status, after.initial_cash, after.version) == ("Renamed", "running", 1_000_000, 1)
        assert after.desired_state == "running"

    def test_a_new_config_is_a_new_version_by_its_author(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        config = {**made.config, "codes": ["600519.SH"]}
        self.post(browser, made, config=json.dumps(config))
        after = Portfolio.objects.get(pk=made.pk)
        assert (after.version, after.config["codes"]) == (2, ["600519.SH"])
        revision = Revision.objects.get(portfolio=made, version=2)
        assert revision.author == books.administrator()
        assert "codes" in revision.change

    def test_a_faulty_config_is_refused_with_its_paths(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        config = json.loads(json.dumps(made.config))
        config["strategy"]["params"]["short_period"] = -1
        config["codes"] = ["nonsense"]
        text = self.post(browser, made, config=json.dumps(config))
        assert "strategy.params.short_period" in text
        assert "codes" in text
        assert Portfolio.objects.get(pk=made.pk).version == 1

    def test_a_config_that_somebody_else_has_replaced_is_not_overwritten(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        services.update_config(made.id, {**made.config, "codes": ["000001.SZ"]})
        text = self.post(browser, made, config=json.dumps({**made.config, "codes": ["600519.SH"]}))
        assert "The configuration was not changed" in text
        assert Portfolio.objects.get(pk=made.pk).config["codes"] == ["000001.SZ"]

    def test_a_config_that_is_no_json_is_refused(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        assert "valid JSON" in self.post(browser, made, config="{")

    def test_it_is_started_and_stopped_by_the_services(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        for action, wanted in (("stop_selected", "stopped"), ("start_selected", "running")):
            pressed = {"action": action, "_selected_action": [made.pk], "confirmed": "yes"}
            browser.post(changelist(Portfolio), pressed)
            assert Portfolio.objects.get(pk=made.pk).desired_state == wanted

    @pytest.mark.parametrize(("ran", "words"), [(True, "was asked to reload"), (False, "is on no node")])
    def test_a_reload_says_whether_any_node_has_it(self, browser: Client, ran: bool, words: str) -> None:
        made = books.portfolio("Mine", books.administrator(), ran=ran)
        pressed = {"action": "reload_selected", "_selected_action": [made.pk]}
        assert f"{made} {words}" in browser.post(changelist(Portfolio), pressed, follow=True).content.decode()

    @pytest.mark.parametrize(("button", "wanted"), [("stop", "stopped"), ("start", "running"), ("reload", "running")])
    def test_a_button_on_its_page_asks_before_it_does(self, browser: Client, button: str, wanted: str) -> None:
        made = books.portfolio("Mine", books.administrator())
        if button == "start":
            services.stop(made.pk)
        url = f"{page(made).removesuffix('/change/')}/{button}/"
        before = Portfolio.objects.filter(pk=made.pk).values().get()
        assert "Mine" in shown(browser, page(made))
        assert "No, go back" in shown(browser, url)
        assert browser.post(url).status_code == 200
        assert Portfolio.objects.filter(pk=made.pk).values().get() == before
        assert browser.post(url, {"confirmed": "yes"})["Location"] == page(made)
        assert Portfolio.objects.get(pk=made.pk).desired_state == wanted
        assert LogEntry.objects.get(object_id=made.pk).user.username == "root"

    def test_it_is_neither_made_nor_deleted_here(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        assert browser.get(changelist(Portfolio) + "add/").status_code == 403
        assert browser.post(page(made).replace("change", "delete"), {"post": "yes"}).status_code == 403
        assert Portfolio.objects.filter(pk=made.pk).exists()

    def test_real_money_is_started_only_after_a_page_that_says_so(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator(), ran=False)
        live = accounts.create("real", books.administrator(), kind="live", broker="acme")
        Portfolio.objects.filter(pk=made.pk).update(account=live)
        assert "real</a> LIVE" in shown(browser, changelist(Portfolio))
        chosen = {"_selected_action": [made.pk]}
        answer = browser.post(changelist(Portfolio), {"action": "start_selected", **chosen}, follow=True)
        assert "REAL MONEY" in answer.content.decode() and "LIVE, real money at acme" in answer.content.decode()
        assert Portfolio.objects.get(pk=made.pk).desired_state == "stopped"
        browser.post(changelist(Portfolio), {"action": "start_selected", "confirmed": "yes", **chosen})
        assert Portfolio.objects.get(pk=made.pk).desired_state == "running"


class TestAccounts:
    GOOD: ClassVar[dict[str, Any]] = {"name": "desk", "kind": "live", "broker": "acme", "currency": "USD"}

    def test_one_is_made_here(self, browser: Client) -> None:
        data = {**self.GOOD, "owner": books.administrator().pk, "max_order_value": "5000"}
        browser.post(changelist(Account) + "add/", data)
        made = Account.objects.get()
        assert (made.name, made.kind, made.broker, made.currency) == ("desk", "live", "acme", "USD")
        assert (made.max_order_value, made.max_orders_per_minute) == (5000, None)

    @pytest.mark.parametrize("wrong", [{"currency": "XYZ"}, {"kind": "play"}, {"broker": "No Name"}, {"name": ""}])
    def test_a_faulty_one_is_not(self, browser: Client, wrong: dict[str, str]) -> None:
        browser.post(changelist(Account) + "add/", {**self.GOOD, "owner": books.administrator().pk, **wrong})
        assert not Account.objects.exists()

    def test_what_it_is_stays_and_its_limits_can_be_changed(self, browser: Client) -> None:
        made = accounts.create("desk", books.administrator())
        browser.post(page(made), {"name": "desk 2", "kind": "live", "broker": "acme", "max_orders_per_minute": "7"})
        made.refresh_from_db()
        assert (made.name, made.max_orders_per_minute) == ("desk 2", 7)
        assert (made.kind, made.broker, made.owner) == ("paper", "simulation", books.administrator())
        assert browser.post(page(made).replace("change", "delete"), {"post": "yes"}).status_code == 403


class TestTheEngineSwitch:
    def test_its_list_is_its_page_also_on_a_new_installation(self, browser: Client) -> None:
        answer = browser.get(changelist(EngineSwitch))
        assert answer.status_code == 302
        assert switch.read().on
        shown(browser, answer["Location"])

    def test_turning_it_asks_and_is_signed(self, browser: Client) -> None:
        url = browser.get(changelist(EngineSwitch))["Location"].removesuffix("/change/")
        assert "every new one is rejected" in shown(browser, f"{url}/stop/")
        browser.post(f"{url}/stop/")
        assert switch.read().on
        browser.post(f"{url}/stop/", {"confirmed": "yes"})
        assert (switch.read().on, switch.read().changed_by) == (False, "root")
        assert "turned off by root" in shown(browser, reverse("admin:index"))
        browser.post(f"{url}/change/", {"on": "on"})
        assert not switch.read().on
        browser.post(f"{url}/start/", {"confirmed": "yes"})
        assert switch.read().on
        rows = Command.objects.order_by("created_at").values_list("command_type", "issued_by", "state")
        assert list(rows) == [("engine.stop", "root", "done"), ("engine.start", "root", "done")]


class TestVersions:
    def test_a_versions_page_shows_what_it_changed_and_restores_it(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        config = {**made.config, "codes": ["600519.SH"]}
        services.update_config(made.id, config, books.administrator())
        services.update_config(made.id, {**config, "codes": ["000001.SZ"]}, books.administrator())
        second = Revision.objects.get(portfolio=made, version=2)
        text = shown(browser, page(second))
        assert "&quot;600519.SH&quot;" in text and "&quot;000001.SZ&quot;" in text and "v3, today" in text
        assert page(second) in shown(browser, page(made))
        url = f"{page(second).removesuffix('/change/')}/restore/"
        assert "It becomes version 4" in shown(browser, url)
        assert Portfolio.objects.get(pk=made.pk).version == 3
        browser.post(url, {"confirmed": "yes"})
        after = Portfolio.objects.get(pk=made.pk)
        assert (after.version, after.config["codes"]) == (4, ["600519.SH"])
        assert Revision.objects.get(portfolio=made, version=4).author == books.administrator()

    def test_two_of_them_are_compared(self, browser: Client) -> None:
        made = books.portfolio("Mine", books.administrator())
        services.update_config(made.id, {**made.config, "codes": ["600519.SH"]}, books.administrator())
        both = list(Revision.objects.filter(portfolio=made).values_list("pk", flat=True))
        answer = browser.post(changelist(Revision), {"action": "compare", "_selected_action": both})
        assert "Mine: version 1 and version 2" in answer.content.decode()
        answer = browser.post(changelist(Revision), {"action": "compare", "_selected_action": both[:1]}, follow=True)
        assert "Choose two versions" in answer.content.decode()


def test_the_first_page_shows_what_runs_and_links_to_it(browser: Client) -> None:
    made = books.all_of_it(portfolios=2, orders_each=1)
    with CaptureQueriesContext(connection) as queries:
        text = shown(browser, reverse("admin:index"))
    for one in made:
        assert page(one) in text
    assert "of 2 that are to run" in text
    assert "600519.SH" in text
    assert len(queries) <= 10, [query["sql"] for query in queries]


def test_the_first_page_says_when_redis_is_away(browser: Client) -> None:
    assert "Redis does not answer" in shown(browser, reverse("admin:index"))


def test_the_menu_holds_every_table_in_its_four_groups(browser: Client) -> None:
    text = shown(browser, reverse("admin:index"))
    for group in ("Trading", "Cluster", "Beat", "Users"):
        assert group in text
    own = {"portfolios", "market", "scheduler"}
    for model in admin.site._registry:
        if model._meta.app_label in own:
            assert changelist(model) in text, model
    assert changelist(User) in text


def test_the_menu_shows_only_what_one_may_see(client: Client) -> None:
    clerk = User.objects.create_user("clerk", password="x", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(clerk)
    text = shown(client, reverse("admin:index"))
    assert changelist(Order) in text
    assert changelist(Portfolio) not in text
    assert client.get(changelist(Portfolio)).status_code == 403


def test_users_and_the_beats_schedules_have_pages(browser: Client) -> None:
    for label in ("auth.User", "auth.Group", "django_celery_beat.PeriodicTask", "django_celery_beat.IntervalSchedule"):
        model = apps.get_model(label)
        shown(browser, changelist(model))
        shown(browser, changelist(model) + "add/")
    shown(browser, page(User.objects.get(username="root")))


def test_a_stranger_is_asked_to_log_in(client: Client) -> None:
    answer = client.get(reverse("admin:index"))
    assert answer.status_code == 302
    assert "login" in answer["Location"]
    assert client.get(answer["Location"]).status_code == 200
