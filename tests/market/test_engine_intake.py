"""One submission, one transaction: whose is it, is it new, may it trade (SPEC M2)."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from market import switch
from market.engine.feedback import Answers
from market.engine.intake import Outcome
from market.engine.transactions import writing
from market.models import CancelRequest, FeedbackCounter, FencedMessage, Fill, Order, OutboxMessage
from market.pretrade import Quote
from tests.market.desk_support import (
    EPOCH,
    LIMITS,
    MORNING,
    NOW,
    Prices,
    cancel_of,
    make_intake,
    make_portfolio,
    state_of,
    submission,
    told,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def taken(*messages, intake=None):
    return [each.outcome for each in (intake or make_intake()).take(messages, NOW)]


def published() -> list[int]:
    return list(OutboxMessage.objects.filter(published=True).order_by("pseq").values_list("pseq", flat=True))


def hold(portfolio, code="600519.SH", volume=100, at=MORNING) -> None:
    """A fill of the past, as the engine recorded it."""
    with writing():
        Fill.objects.create(
            fill_id=f"f{Fill.objects.count()}", broker="simulation", order_id="-", portfolio=portfolio, code=code,
            direction=1, volume=volume, price=10, amount=10 * volume, commission=5, tax=0, event_time=at,
        )  # fmt: skip


def test_a_new_order_is_on_its_way_and_not_yet_answered():
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert taken(order) == [Outcome.SENDING]
    row = Order.objects.get(order_id=order.order_id)
    assert (row.state, row.epoch, row.volume, row.broker) == ("sending", EPOCH, 100, "simulation")
    assert told(portfolio) == []


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1, 0])
def test_an_order_of_another_epoch_is_fenced_and_leaves_its_id_free(epoch):
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert taken(msgspec.structs.replace(order, epoch=epoch)) == [Outcome.FENCED]
    fenced = FencedMessage.objects.get()
    assert (fenced.order_id, fenced.epoch, fenced.current_epoch) == (order.order_id, epoch, EPOCH)
    assert told(portfolio) == [] and not Order.objects.exists()
    assert taken(order) == [Outcome.SENDING]


def test_a_stale_owner_that_repeats_itself_is_recorded_once():
    order = submission(make_portfolio(), epoch=1)
    assert taken(order, order) == [Outcome.FENCED] * 2
    assert taken(order) == [Outcome.FENCED]
    assert FencedMessage.objects.count() == 1


def test_what_was_accepted_and_is_read_again_after_its_epoch_is_repeated_and_not_fenced():
    """A crash comes between the transaction and the commit of the offset; then the portfolio moves."""
    portfolio = make_portfolio(cash=10)
    order = submission(portfolio, order_type="limit", price=10.0)
    cancel = cancel_of(order)
    assert taken(order, cancel) == [Outcome.REJECTED, Outcome.REPEATED]
    portfolio.assignment.epoch = EPOCH + 1
    portfolio.assignment.save()
    assert taken(order, cancel) == [Outcome.REPEATED] * 2
    assert not FencedMessage.objects.exists()


def test_a_stale_cancel_cancels_nothing():
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert taken(order, cancel_of(order, epoch=1)) == [Outcome.SENDING, Outcome.FENCED]
    assert not CancelRequest.objects.exists()


def test_a_resend_under_a_new_epoch_is_told_the_same_words_again():
    portfolio = make_portfolio(cash=10)
    order = submission(portfolio, order_type="limit", price=10.0)
    assert taken(order) == [Outcome.REJECTED]
    words = OutboxMessage.objects.get().message
    OutboxMessage.objects.update(published=True)
    portfolio.assignment.epoch = EPOCH + 1
    portfolio.assignment.save()
    assert taken(msgspec.structs.replace(order, epoch=EPOCH + 1)) == [Outcome.REPEATED]
    again = OutboxMessage.objects.get()
    assert (again.message, again.published) == (words, False)
    assert Order.objects.get().epoch == EPOCH


@pytest.mark.parametrize(
    "change",
    [{"volume": 200}, {"direction": -1}, {"code": "000001.SZ"}, {"order_type": "limit", "price": 9.0}],
)
def test_a_known_id_with_other_contents_changes_nothing(change):
    portfolio = make_portfolio(cash=10)
    order = submission(portfolio, order_type="limit", price=10.0)
    taken(order)
    OutboxMessage.objects.update(published=True)
    before = Order.objects.values().get()
    assert taken(msgspec.structs.replace(order, **change)) == [Outcome.CONFLICT]
    assert Order.objects.values().get() == before
    assert published() == [1]


def test_an_order_of_another_portfolio_under_the_same_id_is_a_conflict():
    order = submission(make_portfolio())
    taken(order)
    assert taken(msgspec.structs.replace(order, portfolio_id=make_portfolio().id)) == [Outcome.CONFLICT]


def test_an_order_of_no_portfolio_is_passed_over():
    stranger = submission("00000000-0000-4000-8000-000000000000")
    mine = submission(make_portfolio())
    assert taken(stranger, mine) == [Outcome.UNKNOWN, Outcome.SENDING]
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"order_id": "x" * 300},
        {"volume": -1},
        {"volume": 10**19},
        {"cause": "nowhere"},
        {"price": 1e300, "order_type": "limit"},
        {"timestamp": MORNING.replace(tzinfo=None)},
        {"timestamp": MORNING.replace(year=1)},
        {"code": "6" * 100},
        {"portfolio_id": "nobody's"},
    ],
)
def test_what_cannot_be_kept_in_the_books_does_not_stop_what_comes_with_it(change):
    portfolio = make_portfolio()
    bad, good = msgspec.structs.replace(submission(portfolio), **change), submission(portfolio)
    assert taken(bad, good) == [Outcome.MALFORMED, Outcome.SENDING]


def test_a_rejected_order_is_answered_with_the_reason_at_its_own_time():
    portfolio = make_portfolio(cash=100)
    assert taken(submission(portfolio, order_type="limit", price=10.0)) == [Outcome.REJECTED]
    (answer,) = told(portfolio)
    assert (answer.event_type, answer.status, answer.reason) == ("order_rejected", "rejected", "insufficient_cash")
    assert (answer.seq, answer.pseq, answer.timestamp) == (1, 1, MORNING)


def test_answers_are_numbered_densely_per_portfolio_and_outlast_a_failed_transaction():
    one, other = make_portfolio(cash=1), make_portfolio(cash=1)
    intake = make_intake()
    for portfolio in (one, other, one, one):
        intake.take([submission(portfolio, order_type="limit", price=10.0)], NOW)
    with pytest.raises(RuntimeError), writing():
        answers = Answers([one.id])
        answers.tell(Order.objects.filter(portfolio=one).first(), "order_rejected", MORNING, reason="lost")
        answers.save()
        raise RuntimeError("the machine dies here")
    intake.take([submission(one, order_type="limit", price=10.0)], NOW)
    assert [f.pseq for f in told(one)] == [1, 2, 3, 4]
    assert [f.pseq for f in told(other)] == [1]
    assert FeedbackCounter.objects.get(portfolio=one).pseq == 4


def test_orders_of_one_batch_share_the_cash_of_their_portfolio():
    portfolio = make_portfolio(cash=1500)
    orders = [submission(portfolio, order_type="limit", price=10.0) for _ in range(2)]
    assert taken(*orders) == [Outcome.SENDING, Outcome.REJECTED]
    assert told(portfolio)[0].reason == "insufficient_cash"


def test_cash_of_a_market_order_is_judged_at_the_last_price_seen():
    prices = Prices({"600519.SH": Quote(price=100_000, timestamp=MORNING)})
    intake = make_intake(prices=prices)
    assert taken(submission(make_portfolio(cash=1004)), intake=intake) == [Outcome.REJECTED]
    assert taken(submission(make_portfolio(cash=1010)), intake=intake) == [Outcome.SENDING]
    assert Order.objects.get(state="sending").reserved == Decimal("1005.01")


def test_what_was_bought_today_cannot_be_sold_today():
    portfolio = make_portfolio()
    hold(portfolio, at=MORNING)
    assert taken(submission(portfolio, direction=-1)) == [Outcome.REJECTED]
    assert told(portfolio)[0].reason == "t_plus_1"
    tomorrow = MORNING.replace(day=6)
    assert taken(submission(portfolio, direction=-1, timestamp=tomorrow)) == [Outcome.SENDING]


def test_a_fill_that_came_after_the_account_was_read_counts():
    portfolio = make_portfolio()
    intake = make_intake()
    yesterday = MORNING.replace(day=4)
    assert taken(submission(portfolio, direction=-1), intake=intake) == [Outcome.REJECTED]
    hold(portfolio, at=yesterday)
    assert taken(submission(portfolio, direction=-1), intake=intake) == [Outcome.SENDING]


def test_a_fill_counts_once_however_often_the_account_is_read():
    portfolio = make_portfolio()
    intake = make_intake()
    hold(portfolio, at=MORNING.replace(day=4))
    for _ in range(3):
        assert taken(submission(portfolio, direction=-1, volume=200), intake=intake) == [Outcome.REJECTED]


def test_orders_above_the_rate_are_rejected():
    portfolio = make_portfolio()
    intake = make_intake(LIMITS.__class__(2, LIMITS.max_order_value, LIMITS.max_daily_turnover))
    orders = [submission(portfolio) for _ in range(3)]
    assert taken(*orders, intake=intake) == [Outcome.SENDING, Outcome.SENDING, Outcome.REJECTED]
    assert told(portfolio)[0].reason == "order_rate"


def test_while_the_switch_is_off_new_orders_are_rejected():
    portfolio = make_portfolio()
    switch.turn(False, "operator")
    assert taken(submission(portfolio)) == [Outcome.REJECTED]
    assert told(portfolio)[0].reason == "engine_stopped"
    switch.turn(True, "operator")
    assert taken(submission(portfolio)) == [Outcome.SENDING]


def test_an_order_that_was_cancelled_before_it_came_is_answered_cancelled():
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert taken(cancel_of(order)) == [Outcome.AWAITED]
    assert told(portfolio) == []
    assert taken(order) == [Outcome.TOMBSTONED]
    assert [(f.event_type, f.order_id) for f in told(portfolio)] == [("order_cancelled", order.order_id)]
    assert CancelRequest.objects.get().done
    assert state_of(order) == "cancelled"


def test_a_cancel_and_its_order_in_one_batch_the_wrong_way_round():
    portfolio = make_portfolio()
    order = submission(portfolio)
    assert taken(cancel_of(order), order) == [Outcome.AWAITED, Outcome.TOMBSTONED]
    assert CancelRequest.objects.get().done


def test_nobody_else_can_bury_an_order():
    order = submission(make_portfolio())
    other = make_portfolio()
    assert taken(cancel_of(order, portfolio_id=other.id)) == [Outcome.AWAITED]
    assert taken(order) == [Outcome.SENDING]


def test_a_cancel_of_an_order_that_is_over_is_told_how_it_ended():
    portfolio = make_portfolio(cash=1)
    order = submission(portfolio, order_type="limit", price=10.0)
    taken(order)
    OutboxMessage.objects.update(published=True)
    assert taken(cancel_of(order)) == [Outcome.REPEATED]
    assert published() == []


def test_a_cancel_is_known_by_its_id_and_its_contents():
    portfolio = make_portfolio()
    one, other = submission(portfolio), submission(portfolio)
    wish = cancel_of(one)
    assert taken(one, other, wish) == [Outcome.SENDING, Outcome.SENDING, Outcome.CANCELLING]
    assert taken(wish) == [Outcome.CANCELLING]  # still working: the broker is told again
    assert taken(msgspec.structs.replace(wish, order_id=other.order_id)) == [Outcome.CONFLICT]
    assert CancelRequest.objects.count() == 1
