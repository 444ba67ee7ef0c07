"""Whatever is wrong with a config is told at every door, fault by fault with its path, and nothing is written (P2)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.forms import modelform_factory
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from portfolios import services
from portfolios.admin_portfolio import PortfolioForm
from portfolios.errors import InvalidConfig
from portfolios.models import Account, Adjustment, Assignment, Checkpoint, Portfolio, Revision
from tests.portfolios.test_configs import GOOD

pytestmark = pytest.mark.django_db

BASE: dict[str, Any] = {**GOOD, "policy": {"bar": "1d"}}

# Where it is spoilt, how (`...`: taken away), and the path of the one fault that follows.
SPOILT: list[tuple[str, Any, str]] = [
    ("strategy", ..., "strategy"),
    ("strategy", "TrendFollowStrategy", "strategy"),
    ("strategy.name", ..., "strategy.name"),
    ("strategy.name", 7, "strategy.name"),
    ("strategy.name", "NoSuchStrategy", "strategy.name"),
    ("strategy.name", "no_such_package.module:Thing", "strategy.name"),
    ("strategy.name", "os.path:join", "strategy.name"),
    ("strategy.name", "LossLimitRisk", "strategy.name"),
    ("strategy.colour", "red", "strategy.colour"),
    ("strategy.strategy_id", 3, "strategy.strategy_id"),
    ("strategy.params", [], "strategy.params"),
    ("strategy.params.short_period", ..., "strategy.params.short_period"),
    ("strategy.params.short_period", 0, "strategy.params.short_period"),
    ("strategy.params.short_period", 5, "strategy.params.short_period"),  # as long as the long one
    ("strategy.params.short_period", 2.5, "strategy.params.short_period"),
    ("strategy.params.short_period", "2", "strategy.params.short_period"),
    ("strategy.params.short_period", True, "strategy.params.short_period"),
    ("strategy.params.short_period", None, "strategy.params.short_period"),
    ("strategy.params.long_period", 10**9, "strategy.params.long_period"),
    ("strategy.params.speed", 1, "strategy.params.speed"),
    ("risk_managements", {}, "risk_managements"),
    ("risk_managements.0", "x", "risk_managements[0]"),
    ("risk_managements.0.name", "RatioSizer", "risk_managements[0].name"),
    ("risk_managements.0.params.loss_limit", 0, "risk_managements[0].params.loss_limit"),
    ("risk_managements.0.params.loss_limit", 101, "risk_managements[0].params.loss_limit"),
    ("risk_managements.0.strategy_id", "x", "risk_managements[0].strategy_id"),
    ("sizer", ..., "sizer"),
    ("sizer.params", ..., "sizer.params.amount"),
    ("sizer.params.amount", -5, "sizer.params.amount"),
    ("sizer.params.amount", {}, "sizer.params.amount"),
    ("codes", ..., "codes"),
    ("codes", [], "codes"),
    ("codes", "600519.SH", "codes"),
    ("codes.0", "AAPL.US", "codes[0]"),
    ("codes.0", "nonsense", "codes[0]"),
    ("codes.0", 5, "codes[0]"),
    ("codes.0", "000001.SZ", "codes[1]"),  # twice
    ("policy", [], "policy"),
    ("policy.backpressure", "panic", "policy.backpressure"),
    ("policy.bar", "2m", "policy.bar"),
    ("policy.max_signal_age", 0, "policy.max_signal_age"),
    ("policy.min_signal_interval", -1, "policy.min_signal_interval"),
    ("policy.pyramiding", "yes", "policy.pyramiding"),
    ("policy.haste", 1, "policy.haste"),
    ("policy.st", ["600000.SH"], "policy.st[0]"),
    ("colour", "red", "colour"),
]


def spoilt(path: str, value: Any) -> Any:
    config = copy.deepcopy(BASE)
    *parents, last = path.split(".")
    place: Any = config
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return config


@pytest.fixture
def portfolio() -> Portfolio:
    return services.create("First", User.objects.create_superuser("admin", password=None), "cn", 1000, BASE)


def all_rows() -> list[Any]:
    models: tuple[Any, ...] = (Account, Adjustment, Assignment, Checkpoint, Portfolio, Revision)
    return [list(model.objects.order_by("pk").values()) for model in models]


def paths_of(refused: pytest.ExceptionInfo[InvalidConfig]) -> list[str]:
    return [fault.path for fault in refused.value.faults]


# The doors: each is given a config for a portfolio, and says at which paths it refused it.


def by_create(portfolio: Portfolio, config: Any, _tmp: Path, _capsys: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as refused:
        services.create("Second", portfolio.owner, "cn", 1000, config)
    return paths_of(refused)


def by_update(portfolio: Portfolio, config: Any, _tmp: Path, _capsys: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as refused:
        services.update_config(portfolio.id, config, portfolio.owner)
    return paths_of(refused)


def by_import(portfolio: Portfolio, config: Any, _tmp: Path, _capsys: Any) -> list[str]:
    document = services.export_portfolio(portfolio.id)
    document["portfolio"]["config"] = config
    found = []
    for into in (None, portfolio.id):
        with pytest.raises(InvalidConfig) as refused:
            services.import_portfolio(document, portfolio.owner, portfolio_id=into)
        found.append(paths_of(refused))
    assert found[0] == found[1]
    return found[0]


def _by_command(capsys: Any, *words: str) -> list[str]:
    with pytest.raises(CommandError) as refused:
        call_command("portfolio", *words)
    assert refused.value.returncode == 2
    told = capsys.readouterr()
    assert told.out == ""
    return [line.partition(": ")[0] for line in told.err.splitlines()]


def by_create_command(_portfolio: Portfolio, config: Any, tmp: Path, capsys: Any) -> list[str]:
    (tmp / "c.json").write_text(json.dumps(config))
    return _by_command(capsys, "create", "--name", "S", "--initial-cash", "1000", "--config", str(tmp / "c.json"))


def by_update_command(portfolio: Portfolio, config: Any, tmp: Path, capsys: Any) -> list[str]:
    (tmp / "c.json").write_text(json.dumps(config))
    return _by_command(capsys, "update", portfolio.id, "--config", str(tmp / "c.json"))


def by_import_command(portfolio: Portfolio, config: Any, tmp: Path, capsys: Any) -> list[str]:
    document = services.export_portfolio(portfolio.id)
    document["portfolio"]["config"] = config
    (tmp / "d.json").write_text(json.dumps(document))
    return _by_command(capsys, "import", portfolio.id, "--input", str(tmp / "d.json"))


def by_admin_form(portfolio: Portfolio, config: Any, _tmp: Path, _capsys: Any) -> list[str]:
    data = {"name": "First", "owner": portfolio.owner_id, "config": json.dumps(config), "seen_version": 1}
    form = modelform_factory(Portfolio, PortfolioForm, fields=("name", "owner", "config"))(data, instance=portfolio)
    assert not form.is_valid()
    return [str(error).partition(": ")[0] for error in form.errors["config"]]


def by_api(portfolio: Portfolio, config: Any, _tmp: Path, _capsys: Any) -> list[str]:
    client = APIClient()
    client.force_authenticate(portfolio.owner)
    body = {"name": "Second", "market": "cn", "initial_cash": 1000, "config": config}
    answer = client.post("/api/portfolio", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PARAMETER")
    return [fault["path"].removeprefix("config.") for fault in answer.json()["details"]["faults"]]


DOORS: list[Callable[[Portfolio, Any, Path, Any], list[str]]] = [
    *(by_create, by_update, by_import, by_create_command, by_update_command, by_import_command, by_admin_form, by_api),
]


@pytest.mark.parametrize(("where", "value", "path"), SPOILT, ids=[f"{w}={v!r}"[:50] for w, v, _ in SPOILT])
def test_each_fault_is_told_at_every_door_with_its_path_and_nothing_is_written(
    portfolio: Portfolio, where: str, value: Any, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = all_rows()
    told = {door.__name__: door(portfolio, spoilt(where, value), tmp_path, capsys) for door in DOORS}
    assert told == {door: [path] for door in told}
    assert all_rows() == before


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_all_faults_are_told_at_once(
    portfolio: Portfolio, door: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty = {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 0, "long_period": "x"}},
        "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 100}}, {"name": "Nothing"}],
        "sizer": {"name": "FixedAmountSizer"},
        "codes": ["00700.HK", "x"],
        "policy": {"bar": "3d"},
        "extra": 1,
    }
    before = all_rows()
    assert door(portfolio, faulty, tmp_path, capsys) == [
        "extra", "strategy.params.short_period", "strategy.params.long_period", "risk_managements[0].params.loss_limit",
        "risk_managements[1].name", "sizer.params.amount", "codes[0]", "codes[1]", "policy.bar",
    ]  # fmt: skip
    assert all_rows() == before


@pytest.mark.parametrize("config", [None, [], "x", 3])
def test_what_is_no_object_is_one_fault(portfolio: Portfolio, config: Any, tmp_path: Path, capsys: Any) -> None:
    for door in (by_create, by_update, by_import, by_create_command):
        assert door(portfolio, config, tmp_path, capsys) == ["config"]


def test_the_admins_page_shows_the_faults(portfolio: Portfolio, client: Client) -> None:
    client.force_login(portfolio.owner)
    config = spoilt("codes.0", "AAPL.US")
    page = reverse("admin:portfolios_portfolio_change", args=[portfolio.pk])
    data = {"name": "First", "owner": portfolio.owner_id, "config": json.dumps(config), "seen_version": 1}
    assert "codes[0]: &#x27;AAPL.US&#x27; is a code of market us" in client.post(page, data).content.decode()
    assert services.get(portfolio.id).version == 1
