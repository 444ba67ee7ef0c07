"""Portfolios through the API: made, read, configured, wished for, taken away; names and answers as specified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from portfolios.models import Account, Assignment, AuditEntry, Portfolio, Revision
from tests.api import callers
from tests.api.callers import Caller
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

CONFIG = {
    "strategy": {
        "strategy_id": "mine",
        "name": "TrendFollowStrategy",
        "params": {"short_period": 5, "long_period": 20},
    },
    "risk_managements": [{"risk_id": "r", "name": "LossLimitRisk", "params": {"loss_limit": 10.0}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10000}},
    "codes": ["600519.SH"],
}
SLOWER = {"strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 10, "long_period": 30}}}


@pytest.fixture
def owner() -> User:
    return callers.user("owner", "trader")


@pytest.fixture
def api(owner: User) -> Caller:
    return callers.by_token(owner)


@pytest.fixture
def made(api: Caller) -> dict[str, Any]:
    answer = api.post("/api/portfolio", {"name": "Mine", "initial_cash": 100000.00, "config": CONFIG})
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_a_new_portfolio_is_the_callers_and_where_its_location_says(api: Caller, owner: User) -> None:
    answer = api.post("/api/portfolio", {"name": "Mine", "initial_cash": "100000.25", "config": CONFIG})
    found = api.get(answer.headers["Location"]).json()
    assert found == answer.json()
    assert (found["owner"], found["initial_cash"], found["version"]) == ("owner", 100000.25, 1)
    assert (found["status"], found["desired_state"], found["account_kind"]) == ("created", "stopped", "paper")
    assert found["config"] == CONFIG
    assert answer.headers["ETag"] == '"1"'


def test_every_fault_is_told_with_its_path(api: Caller) -> None:
    config = {
        **CONFIG,
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 0, "typo": 1}},
        "codes": ["AAPL.US"],
    }
    answer = api.post("/api/portfolio", {"name": "Mine", "initial_cash": 1, "config": config})
    found = answer.json()
    assert (answer.status_code, found["code"]) == (400, "INVALID_PARAMETER")
    assert {fault["path"] for fault in found["details"]["faults"]} == {
        "config.strategy.params.short_period",
        "config.strategy.params.typo",
        "config.codes[0]",
    }
    assert not Portfolio.objects.exists()


@pytest.mark.parametrize("cash", [0, -1, 10**15, "1e3", "1.00001", True, None, "", [1]])
def test_cash_that_is_none_is_refused(api: Caller, cash: Any) -> None:
    answer = api.post("/api/portfolio", {"name": "Mine", "initial_cash": cash, "config": CONFIG})
    assert answer.status_code == 400
    assert [fault["path"] for fault in answer.json()["details"]["faults"]] == ["initial_cash"]


def test_only_staff_make_portfolios_for_others(api: Caller) -> None:
    callers.user("other")
    wish = {"name": "Theirs", "initial_cash": 1000, "config": CONFIG, "owner": "other"}
    assert api.post("/api/portfolio", wish).status_code == 403
    staff = callers.by_token(callers.user("staff", is_staff=True))
    assert staff.post("/api/portfolio", wish).json()["owner"] == "other"


def test_a_put_of_part_of_the_config_is_a_new_version_and_a_reload(api: Caller, made: dict[str, Any]) -> None:
    api.post(f"/api/portfolio/{made['id']}/start")
    found = api("PUT", f"/api/portfolio/{made['id']}", {"config": SLOWER}).json()
    assert found == {
        "success": True,
        "portfolio_id": made["id"],
        "status": "reloading",
        "version": 2,
        "updated_at": found["updated_at"],
        "message": "Portfolio config updated, reload initiated",
    }
    now = api.get(f"/api/portfolio/{made['id']}").json()["config"]
    assert now == {**CONFIG, **SLOWER}


def test_the_same_config_again_is_no_new_version(api: Caller, made: dict[str, Any]) -> None:
    found = api("PUT", f"/api/portfolio/{made['id']}", {"config": CONFIG}).json()
    assert (found["version"], found["status"]) == (1, "created")
    assert Revision.objects.count() == 1


def test_a_patch_changes_single_settings_and_the_name(api: Caller, made: dict[str, Any]) -> None:
    patch = {"name": "Slower", "config": {"strategy": {"params": {"long_period": 60}}, "policy": {"bar": "1d"}}}
    assert api("PATCH", f"/api/portfolio/{made['id']}", patch).status_code == 200
    found = api.get(f"/api/portfolio/{made['id']}").json()
    assert found["name"] == "Slower"
    assert found["config"]["strategy"]["params"] == {"short_period": 5, "long_period": 60}
    assert found["config"]["policy"] == {"bar": "1d"}
    api("PATCH", f"/api/portfolio/{made['id']}", {"config": {"policy": None}})
    assert "policy" not in api.get(f"/api/portfolio/{made['id']}").json()["config"]


def test_a_faulty_patch_changes_neither_name_nor_config(api: Caller, made: dict[str, Any]) -> None:
    patch = {"name": "Other", "config": {"strategy": {"params": {"long_period": 1}}}}
    answer = api("PATCH", f"/api/portfolio/{made['id']}", patch)
    assert answer.status_code == 400
    assert api.get(f"/api/portfolio/{made['id']}").json()["name"] == "Mine"
    assert AuditEntry.objects.count() == 1  # of its making


class TestVersions:
    @pytest.mark.parametrize("seen", ['"1"', 'W/"1"', "1"])
    def test_a_write_for_the_version_there_is_goes_through(self, api: Caller, made: dict[str, Any], seen: str) -> None:
        answer = api("PUT", f"/api/portfolio/{made['id']}", {"config": SLOWER}, If_Match=seen)
        assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PUT", "", {"config": SLOWER}),
            ("PATCH", "", {"name": "Other"}),
            ("DELETE", "", None),
            ("POST", "/start", None),
            ("POST", "/stop", None),
            ("POST", "/rollback", {"to_version": 1}),
        ],
    )
    def test_a_write_for_an_old_version_is_a_409_and_changes_nothing(
        self, api: Caller, made: dict[str, Any], method: str, path: str, body: Any
    ) -> None:
        api("PATCH", f"/api/portfolio/{made['id']}", {"config": {"policy": {"bar": "1d"}}})
        before = api.get(f"/api/portfolio/{made['id']}").json()
        answer = api(method, f"/api/portfolio/{made['id']}{path}", body, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (409, "VERSION_CONFLICT")
        assert answer.json()["details"] == {"version": 2, "seen": 1}
        assert api.get(f"/api/portfolio/{made['id']}").json() == before

    def test_the_body_can_name_the_version_too(self, api: Caller, made: dict[str, Any]) -> None:
        answer = api("PUT", f"/api/portfolio/{made['id']}", {"config": SLOWER, "version": 9})
        assert answer.json()["code"] == "VERSION_CONFLICT"

    def test_an_if_match_that_is_none_is_refused(self, api: Caller, made: dict[str, Any]) -> None:
        answer = api("PUT", f"/api/portfolio/{made['id']}", {"config": SLOWER}, If_Match='"new"')
        assert answer.status_code == 400


def test_start_and_stop_are_wishes(api: Caller, made: dict[str, Any]) -> None:
    found = api.post(f"/api/portfolio/{made['id']}/start").json()
    assert (found["success"], found["desired_state"], found["status"]) == (True, "running", "created")
    assert api.post(f"/api/portfolio/{made['id']}/stop", {}).json()["desired_state"] == "stopped"


def test_a_reload_says_whether_any_node_has_it(api: Caller, made: dict[str, Any]) -> None:
    asked = f"/api/portfolio/{made['id']}/reload"
    assert api.post(asked).json()["message"] == "no node runs it: its next start takes the newest"
    (row,) = api.get("/api/commands").json()["results"]
    assert (row["command_type"], row["state"], row["issued_by"]) == ("portfolio.reload", "done", "owner")
    Assignment.objects.update(node_id="node-1", epoch=1)
    assert api.post(asked).json()["message"] == "its node is asked to load the newest configuration"


def test_real_money_asks_for_confirmation(api: Caller, made: dict[str, Any]) -> None:
    Account.objects.update(kind="live")
    answer = api.post(f"/api/portfolio/{made['id']}/start")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFIRMATION_REQUIRED")
    assert '"confirm": true' in answer.json()["message"]
    assert api.post(f"/api/portfolio/{made['id']}/start", {"confirm": True}).status_code == 200


def test_revisions_and_the_way_back(api: Caller, made: dict[str, Any]) -> None:
    api("PUT", f"/api/portfolio/{made['id']}", {"config": SLOWER})
    answer = api.post(f"/api/portfolio/{made['id']}/rollback", {"to_version": 1})
    assert answer.json()["version"] == 3
    found = api.get(f"/api/portfolio/{made['id']}/revisions").json()
    assert [(r["version"], r["author"]) for r in found["results"]] == [(3, "owner"), (2, "owner"), (1, "owner")]
    assert found["results"][0]["config"] == CONFIG
    assert api.post(f"/api/portfolio/{made['id']}/rollback", {"to_version": 9}).status_code == 404


def test_an_export_goes_in_again(api: Caller, made: dict[str, Any]) -> None:
    document = api.get(f"/api/portfolio/{made['id']}/export").json()
    copy = api.post("/api/portfolio/import", document)
    assert copy.status_code == 201
    assert copy.json()["id"] != made["id"]
    assert copy.json()["config"] == CONFIG
    document["portfolio"]["config"] = {**CONFIG, **SLOWER}
    onto = api.post(f"/api/portfolio/import?portfolio_id={made['id']}", document)
    assert (onto.json()["id"], onto.json()["version"]) == (made["id"], 2)
    document["portfolio"]["config"]["codes"] = ["nonsense"]
    faults = api.post("/api/portfolio/import", document).json()["details"]["faults"]
    assert [fault["path"] for fault in faults] == ["portfolio.config.codes[0]"]


def test_one_that_never_traded_can_be_taken_away(api: Caller, made: dict[str, Any]) -> None:
    assert api("DELETE", f"/api/portfolio/{made['id']}").status_code == 204
    assert api.get(f"/api/portfolio/{made['id']}").status_code == 404
    assert AuditEntry.objects.first().changes["name"] == ["Mine", None]  # type: ignore[union-attr]


def test_books_are_kept(owner: User, api: Caller) -> None:
    traded = books.portfolio("Traded", owner)
    assert "stop it first" in api("DELETE", f"/api/portfolio/{traded.id}").json()["message"]
    books.order(traded, 1)
    Portfolio.objects.update(desired_state="stopped")
    traded.assignment.node_id = ""
    traded.assignment.save()
    answer = api("DELETE", f"/api/portfolio/{traded.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert Portfolio.objects.exists()


def test_lists_are_filtered_sorted_and_paged(owner: User, api: Caller) -> None:
    for name in ("b one", "a two", "c one"):
        books.portfolio(name, owner, ran=name != "a two")
    assert [p["name"] for p in api.get("/api/portfolio").json()["results"]] == ["a two", "b one", "c one"]
    assert [p["name"] for p in api.get("/api/portfolio?name=ONE&ordering=-name").json()["results"]] == [
        "c one",
        "b one",
    ]
    assert api.get("/api/portfolio?status=created").json()["count"] == 1
    first = api.get("/api/portfolio?limit=2").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (3, 2, None)
    second = api.get(first["next"]).json()
    assert (len(second["results"]), second["next"]) == (1, None)
    assert api.get(second["previous"]).json()["results"] == first["results"]
    assert api.get("/api/portfolio?offset=99").json() | {"previous": ""} == {
        "count": 3, "next": None, "previous": "", "results": [],
    }  # fmt: skip


def test_orders_and_fills_are_filtered(owner: User, api: Caller) -> None:
    traded = books.portfolio("Traded", owner)
    for number in (1, 2, 3):
        books.order(traded, number)
    path = f"/api/portfolio/{traded.id}"
    assert api.get(f"{path}/orders?state=filled&code=600519.SH&direction=1").json()["count"] == 3
    assert api.get(f"{path}/orders?state=rejected").json()["count"] == 0
    assert api.get(f"{path}/orders?since=2026-03-02T07:02:00Z").json()["count"] == 2
    assert api.get(f"{path}/orders?until={int(books.NOW.timestamp()) + 120}").json()["count"] == 1
    (first, *_) = api.get(f"{path}/fills?ordering=-event_time").json()["results"] or [None]
    assert (first["price"], first["amount"], first["commission"]) == (1700.5, 170050.0, 51.015)


def test_the_state_is_the_checkpoints_where_redis_and_history_are_away(
    owner: User, api: Caller, settings: Settings
) -> None:
    nowhere = replace(settings.GINKGO_RESOLVE(), history="clickhouse://127.0.0.1:1/x")
    settings.GINKGO_RESOLVE = lambda: nowhere
    ran = books.portfolio("Ran", owner)
    found = api.get(f"/api/portfolio/{ran.id}/status").json()
    assert (found["cash"], found["node_id"], found["epoch"], found["status"]) == (1_000_000, "node-1", 3, "running")
    assert api.get(f"/api/portfolio/{ran.id}/positions").json() == {"portfolio_id": ran.id, "positions": []}
    history = api.get(f"/api/portfolio/{ran.id}/history").json()
    assert (history["source"], history["points"][0]["total_value"]) == ("checkpoint", 1_000_000)
