"""The services, on a database; live figures on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import TestCase

from portfolios import command_log, livestate, services, signals
from portfolios.errors import Conflict, InvalidConfig, NotFound
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.orders import Order
from portfolios.kernel.portfolio import Portfolio as KernelPortfolio
from portfolios.kernel.rules import rules_for
from portfolios.models import Assignment, Checkpoint, Command, Portfolio, Revision
from tests.portfolios.test_configs import GOOD
from tests.support.stack import RunningStack

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return User.objects.create_superuser("owner", password=None)


@pytest.fixture
def portfolio(owner: User) -> Portfolio:
    return services.create("First", owner, "cn", "1000000", GOOD)


@pytest.fixture
def told() -> Iterator[list[tuple[str, Any]]]:
    """What the signals said."""
    heard: list[tuple[str, Any]] = []

    def desired(portfolio_id: str, desired_state: str, **_: Any) -> None:
        heard.append(("desired", desired_state))

    def config(portfolio_id: str, version: int, **_: Any) -> None:
        heard.append(("config", version))

    signals.desired_state_changed.connect(desired)
    signals.config_changed.connect(config)
    yield heard
    signals.desired_state_changed.disconnect(desired)
    signals.config_changed.disconnect(config)


def _changed(**params: Any) -> dict[str, Any]:
    return {
        **GOOD,
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": 9, **params}},
    }


def test_a_new_portfolio_has_a_revision_nobodys_assignment_and_an_empty_checkpoint(portfolio: Portfolio) -> None:
    revision = Revision.objects.get(portfolio=portfolio)
    assert (revision.version, revision.config, revision.author) == (1, GOOD, portfolio.owner)
    assert (portfolio.assignment.node_id, portfolio.assignment.epoch) == ("", 0)
    assert bytes(Checkpoint.objects.get(portfolio=portfolio).state) == b""
    assert portfolio.desired_state == "stopped"


def test_a_faulty_portfolio_leaves_nothing_behind_and_tells_every_fault(owner: User) -> None:
    with pytest.raises(InvalidConfig) as raised:
        services.create(" ", owner, "cn", "-1", {**GOOD, "codes": []})
    assert [fault.path for fault in raised.value.faults] == ["name", "initial_cash", "codes"]
    assert not any(model.objects.exists() for model in (Portfolio, Revision, Assignment, Checkpoint))


def test_without_an_owner_it_is_the_administrators(owner: User) -> None:
    assert services.create("Mine", None, "cn", 1000, GOOD).owner == owner
    with pytest.raises(NotFound, match="no user 'nobody'"):
        services.create("His", "nobody", "cn", 1000, GOOD)


def test_a_changed_config_is_the_next_version_and_says_what_changed(
    portfolio: Portfolio, owner: User, told: list[tuple[str, Any]]
) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True):
        services.update_config(portfolio.id, _changed(), owner, expected_version=1)
    newest, oldest = services.revisions(portfolio.id)
    assert (newest.version, newest.change, newest.author) == (2, "strategy.params.long_period: 5 → 9", owner)
    assert oldest.config == GOOD
    assert told == [("config", 2)]


def test_the_same_config_is_no_change(portfolio: Portfolio) -> None:
    assert services.update_config(portfolio.id, GOOD).version == 1
    assert len(services.revisions(portfolio.id)) == 1


def test_a_change_of_what_somebody_else_has_changed_is_refused(portfolio: Portfolio) -> None:
    services.update_config(portfolio.id, _changed())
    with pytest.raises(Conflict, match="at version 2, not 1"):
        services.update_config(portfolio.id, _changed(short_period=3), expected_version=1)
    assert services.get(portfolio.id).config == _changed()


def test_a_faulty_config_changes_nothing(portfolio: Portfolio) -> None:
    with pytest.raises(InvalidConfig, match=r"strategy\.params\.short_period"):
        services.update_config(portfolio.id, _changed(short_period=0))
    assert services.get(portfolio.id).version == 1


def test_any_version_can_be_restored_as_the_newest(portfolio: Portfolio) -> None:
    services.update_config(portfolio.id, _changed())
    restored = services.rollback(portfolio.id, 1)
    assert (restored.version, restored.config) == (3, GOOD)
    assert services.revisions(portfolio.id)[0].change == "restored version 1: strategy.params.long_period: 9 → 5"
    assert services.diff(portfolio.id, 1, 3) == []
    with pytest.raises(NotFound, match="no version 7"):
        services.rollback(portfolio.id, 7)


def test_start_and_stop_write_the_wish_and_tell_it_after_the_commit(
    portfolio: Portfolio, told: list[tuple[str, Any]]
) -> None:
    with TestCase.captureOnCommitCallbacks(execute=False) as callbacks:
        services.start(portfolio.id)
    assert services.get(portfolio.id).desired_state == "running"
    assert told == []
    for callback in callbacks:
        callback()
    with TestCase.captureOnCommitCallbacks(execute=True):
        services.stop(portfolio.id)
    assert told == [("desired", "running"), ("desired", "stopped")]


def test_a_wish_is_in_the_command_log_with_who_asked(portfolio: Portfolio) -> None:
    services.start(portfolio.id, asked_by="alice")
    services.stop(portfolio.id)
    stop, start = Command.objects.all()
    assert (start.command_type, start.target_id, start.issued_by) == ("portfolio.start", portfolio.id, "alice")
    assert (start.state, start.door, start.node_id) == ("done", "direct", "")
    assert (stop.command_type, stop.issued_by) == ("portfolio.stop", command_log.system_user())


def test_a_command_that_the_log_has_already_is_not_written_down_twice(portfolio: Portfolio) -> None:
    services.start(portfolio.id, asked_by="alice", command_id="c-1")
    assert not Command.objects.exists()


def test_a_portfolio_made_to_run_was_asked_to_by_its_author(owner: User) -> None:
    services.create("Second", owner, "cn", "1000000", GOOD, running=True)
    assert [(c.command_type, c.issued_by) for c in Command.objects.all()] == [("portfolio.start", "owner")]


def test_a_receiver_that_fails_does_not_fail_the_service(portfolio: Portfolio) -> None:
    def broken(**_: Any) -> None:
        raise ConnectionError("no broker")

    signals.desired_state_changed.connect(broken)
    try:
        with TestCase.captureOnCommitCallbacks(execute=True):
            services.start(portfolio.id)
    finally:
        signals.desired_state_changed.disconnect(broken)
    assert services.get(portfolio.id).desired_state == "running"


def test_it_is_found_by_id_by_the_beginning_of_its_id_and_by_name(portfolio: Portfolio, owner: User) -> None:
    for text in (portfolio.id, portfolio.id[:8], portfolio.id[:8].upper(), "First"):
        assert services.find(text) == portfolio
    services.create("First", owner, "cn", 1000, GOOD)
    with pytest.raises(Conflict, match="several portfolios"):
        services.find("First")
    with pytest.raises(NotFound, match="ginkgo portfolio list"):
        services.find("Second")


def test_before_its_first_start_its_value_is_its_cash(portfolio: Portfolio) -> None:
    status = services.get_status(portfolio.id)
    assert (status["cash"], status["total_value"], status["position_count"]) == (1_000_000, 1_000_000, 0)
    assert (status["status"], status["node_id"], status["epoch"], status["version"]) == ("created", "", 0, 1)
    assert services.get_positions(portfolio.id) == []


def test_without_redis_status_and_positions_are_the_checkpoints(portfolio: Portfolio) -> None:
    kernel = _holding(portfolio)
    Checkpoint.objects.filter(portfolio=portfolio).update(
        state=kernel.snapshot(), saved_at=datetime.now(UTC), config_version=1
    )
    (held,) = services.get_positions(portfolio.id)
    assert (held["code"], held["volume"], held["available"], held["last_price"]) == ("000001.SZ", 900, 0, 10)
    assert held["profit"] == Decimal("-6.00") and held["cost_price"] == Decimal("10.0066")
    status = services.get_status(portfolio.id)
    assert (status["cash"], status["total_value"]) == (Decimal("990994.0000"), Decimal("999994.0000"))
    assert (status["position_count"], status["running_version"]) == (1, 1)


@pytest.mark.servers
def test_live_figures_count_until_a_checkpoint_is_newer(stack: RunningStack, portfolio: Portfolio) -> None:
    moment = datetime.now(UTC)
    live = {
        "cash": "123.4500", "total_value": "1000.0000", "position_count": 2, "node_id": "n", "version": 1,
        "updated_at": moment.isoformat(),
    }  # fmt: skip
    livestate.client().hset(livestate.state_key(portfolio.id), mapping=live)
    assert services.get_status(portfolio.id)["cash"] == Decimal("123.45")
    assert services.list_portfolios()[0]["total_value"] == Decimal("1000")

    later = moment + timedelta(seconds=1)
    Checkpoint.objects.filter(portfolio=portfolio).update(state=_holding(portfolio).snapshot(), saved_at=later)
    assert services.get_status(portfolio.id)["cash"] == Decimal("990994")


def test_an_export_comes_back_as_another_portfolio_with_the_same_config(portfolio: Portfolio, owner: User) -> None:
    document = services.export_portfolio(portfolio.id)
    copy = services.import_portfolio(document, owner)
    assert copy.id != portfolio.id
    assert (copy.name, copy.market, copy.initial_cash, copy.config) == ("First", "cn", Decimal(1_000_000), GOOD)


def test_an_import_is_validated_and_can_be_the_next_version(portfolio: Portfolio, owner: User) -> None:
    document = services.export_portfolio(portfolio.id)
    document["portfolio"]["config"] = _changed()
    assert services.import_portfolio(document, portfolio_id=portfolio.id).version == 2
    document["portfolio"]["config"] = {**GOOD, "codes": ["x"]}
    with pytest.raises(InvalidConfig, match=r"codes\[0\]"):
        services.import_portfolio(document, owner)
    with pytest.raises(InvalidConfig, match="no exported portfolio"):
        services.import_portfolio({"portfolio": {}}, owner)


def test_what_is_not_there_is_not_found() -> None:
    nobody = str(uuid4())
    for function in (services.get, services.get_status, services.get_positions, services.start, services.revisions):
        with pytest.raises(NotFound):
            function(nobody)


def _holding(portfolio: Portfolio) -> KernelPortfolio:
    """The kernel's portfolio after buying 900 shares of 000001.SZ at 10.00 for fees of 6.00."""
    config = {**GOOD, "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 1, "long_period": 2}}}
    config["sizer"] = {"name": "FixedAmountSizer", "params": {"amount": 9500}}
    kernel = KernelPortfolio(portfolio.id, parse(config, "cn"), rules_for("cn"), 1_000_000 * 10_000)
    start = datetime(2024, 1, 2, 2, 0, tzinfo=UTC)
    orders: list[Any] = []
    for number, price in enumerate((10.2, 10.0, 10.1)):
        tick = PriceUpdate(code="000001.SZ", timestamp=start + timedelta(minutes=number), price=price)
        orders += kernel.apply(tick, Cause("t", 0, number))
    (order,) = orders
    assert isinstance(order, Order) and order.volume == 900
    fill = Feedback(
        event_type="order_filled", timestamp=tick.timestamp, order_id=order.order_id, portfolio_id=portfolio.id, seq=1,
        pseq=1, status="filled", fill_id=str(uuid4()), code=order.code, direction=1, filled_volume=900,
        remaining_volume=0, filled_price=10.0, filled_amount=9000.0, commission=5.0, tax=1.0,
    )  # fmt: skip
    kernel.apply(fill, Cause("f", 0, 0))
    kernel.apply(PriceUpdate(code="000001.SZ", timestamp=tick.timestamp, price=10.0), Cause("t", 0, 9))
    return kernel
