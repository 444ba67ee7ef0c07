"""Deposits and corrections of a portfolio that runs: booked once, with the checkpoint that contains them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from nodes import adjustments
from nodes.processor import Processor
from nodes.runtime import Runtime, restore
from nodes.subscription import Item
from portfolios import books, services
from portfolios.errors import Refused
from portfolios.kernel.events import Cause
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.rules import rules_for
from portfolios.models import Adjustment, Assignment, Checkpoint, LedgerEntry
from portfolios.ownership import Ownership, hand_over
from tests.nodes.log import Log, position_of
from tests.nodes.support import CODE, MORNING, Alerts, config, fill, loaded
from tests.nodes.test_processor import NewCode, Scene, drain
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
INITIAL = 10**6


@pytest.fixture
def scene(log: Log, alerts: Alerts) -> Iterator[Scene]:
    scene = Scene(log, alerts)
    yield scene
    scene.checkpointer.request_stop()
    scene.checkpointer.join(10)


def saved_cash(processor: Processor) -> Decimal:
    return Decimal(services.get_status(processor.portfolio_id)["cash"])


def state_of(asked: Adjustment) -> str:
    asked.refresh_from_db()
    return asked.state


def take(processor: Processor, run: Runtime) -> None:
    adjustments.take(processor, run)
    processor.save(wait=True)


def test_a_deposit_waits_for_the_owner_and_is_in_its_next_checkpoint(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    asked = services.deposit(processor.portfolio_id, "250.5", "a bonus", scene.user)
    assert (state_of(asked), run.portfolio.cash) == ("pending", to_units(INITIAL))
    take(processor, run)
    assert state_of(asked) == "applied"
    entry = LedgerEntry.objects.get(adjustment=asked)
    assert (entry.kind, entry.cash_change, entry.pseq) == ("deposit", Decimal("250.5"), None)
    assert saved_cash(processor) == INITIAL + Decimal("250.5")


def test_it_is_booked_once_however_often_it_is_looked_at_before_the_checkpoint(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    services.deposit(processor.portfolio_id, 100, "once", scene.user)
    assert adjustments.take(processor, run)
    Adjustment.objects.update(state="pending")  # as it reads while the checkpoint is on its way
    assert not adjustments.take(processor, run)
    assert run.portfolio.cash == to_units(INITIAL + 100)


def test_after_a_crash_before_the_checkpoint_the_successor_books_it(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    asked = services.deposit(processor.portfolio_id, 100, "crash", scene.user)
    monkeypatch.setattr(processor, "save", lambda wait=False: None)
    adjustments.take(processor, run)
    processor._leave()  # the process is gone
    assert state_of(asked) == "pending"

    successor = Processor(scene.context, processor.portfolio_id, 1)
    run, _, _ = scene.begin(successor)
    assert (state_of(asked), run.portfolio.cash) == ("applied", to_units(INITIAL + 100))
    successor._leave()
    again = Processor(scene.context, processor.portfolio_id, 1)
    run, _, _ = scene.begin(again)
    assert run.portfolio.cash == to_units(INITIAL + 100)
    assert LedgerEntry.objects.filter(adjustment=asked).count() == 1


def test_one_that_has_lost_its_portfolio_neither_books_nor_refuses(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    good = services.deposit(processor.portfolio_id, 100, "migrated", scene.user)
    bad = services.withdraw(processor.portfolio_id, 10 * INITIAL, "too much", scene.user)
    assert hand_over(Ownership(processor.portfolio_id, "node-t", 1), "node-2", "moved") is not None
    adjustments.take(processor, run)
    eventually(processor.stopping.is_set, saying="the loss noticed")
    assert (state_of(good), state_of(bad)) == ("pending", "pending")
    assert not LedgerEntry.objects.filter(portfolio_id=processor.portfolio_id).exists()

    Assignment.objects.filter(portfolio_id=processor.portfolio_id).update(node_id="node-t")  # epoch 2
    successor = Processor(scene.context, processor.portfolio_id, 2)
    run, _, _ = scene.begin(successor)
    assert (state_of(good), state_of(bad)) == ("applied", "refused")
    assert run.portfolio.cash == to_units(INITIAL + 100)


def test_a_withdrawal_beyond_what_is_free_is_refused_with_what_there_is(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    asked = services.withdraw(processor.portfolio_id, INITIAL + 1, "all and more", scene.user)
    take(processor, run)
    assert state_of(asked) == "refused"
    with pytest.raises(Refused, match=r"only 1000000\.0000 CNY"):
        services.wait_for(asked, 0)
    assert run.portfolio.cash == to_units(INITIAL)


def test_a_position_in_a_code_of_its_own_is_watched_from_then_on(scene: Scene, new_code: NewCode) -> None:
    code, other = new_code(), new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    services.correct_position(processor.portfolio_id, other, 300, "came with a split", 10, scene.user)
    processor._take_adjustments(run, market)
    scene.log.ticks(other, range(1), price=11.0)
    eventually(lambda: market.put, saying="its price")
    drain(processor, run, market, feedback)
    assert run.portfolio.positions[other].volume == 300
    assert run.portfolio.price_of(other) == to_units(11)
    assert run.portfolio.cash == to_units(INITIAL)
    assert run.next_offset(position_of(other)) is not None


def test_the_thread_books_it_when_it_is_told(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    processor.start()
    try:
        assert processor.running.wait(20)
        asked = services.deposit(processor.portfolio_id, 7, "told", scene.user)
        processor.adjust()
        assert services.wait_for(asked, 10).state == "applied"
        assert bytes(Checkpoint.objects.get(portfolio_id=processor.portfolio_id).state)
    finally:
        processor.end("discard")
        processor.join(10)


def test_what_fails_unforeseen_is_refused_and_the_portfolio_restored_without_it(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = scene.portfolio(new_code())
    run, _, _ = scene.begin(processor)
    asked = services.deposit(processor.portfolio_id, 100, "odd", scene.user)

    def fails(_amount: int) -> None:
        raise RuntimeError("unforeseen")

    class Broken:
        def __getattr__(self, name: str) -> object:
            return fails if name == "adjust_cash" else getattr(run_portfolio, name)

    run_portfolio = run.portfolio
    monkeypatch.setattr(run, "portfolio", Broken())
    with pytest.raises(RuntimeError):
        adjustments.take(processor, run)
    assert (state_of(asked), asked.outcome) == ("refused", "failed: RuntimeError: unforeseen")
    processor._leave()
    run, _, _ = scene.begin(Processor(scene.context, processor.portfolio_id, 1))
    assert run.portfolio.cash == to_units(INITIAL)


# -- the books as a whole ----------------------------------------------------------------------------------------------

CENTS = some.integers(1, 200_000).map(lambda cents: Decimal(cents) / 100)
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("buy"), some.integers(1, 9)),
        some.tuples(some.just("sell"), some.integers(1, 9)),
        some.tuples(some.sampled_from(["deposit", "withdrawal"]), CENTS),
        some.tuples(some.just("correction"), some.integers(-300, 300).filter(bool)),
        some.tuples(some.just("crash"), some.none()),
        some.tuples(some.just("save"), some.none()),
    ),
    max_size=25,
)


CODES = {"cn": CODE, "hk": "00700.HK", "us": "AAPL.US", "futures": "IF2612.CFX"}


@pytest.mark.parametrize("market", CODES)
@given(steps=STEPS)
def test_cash_is_what_it_began_with_and_all_that_the_ledger_says(market: str, steps: list[tuple[str, Any]]) -> None:
    """Fills and their fees, deposits, withdrawals and corrections in any order, with crashes between them; of futures
    too, long and short, though there it is profit that is paid, and not the contract."""
    code, rules = CODES[market], rules_for(market)
    chosen = {"market": market, "config": config((code,))}
    first = loaded(**chosen)
    run, _ = restore(first, rules)
    ledger: list[LedgerEntry] = []
    saved = first
    for number, (kind, much) in enumerate(steps, start=1):
        if kind == "crash":
            run, _ = restore(saved, rules)  # what was not saved has not happened, and is not in the ledger
        elif kind == "save":
            save, _ = run.take_save()
            ledger.extend(save.ledger)
            saved = loaded(first.portfolio_id, state=save.state, pseq=save.pseq, checkpoint_version=1, **chosen)
        elif kind in ("buy", "sell"):
            told = fill(run.portfolio.pseq + 1, f"o{number}", first.portfolio_id, 100 * much, 9.87 + number)
            amount = told.filled_amount * rules.multiplier(code)  # type: ignore[operator]
            told = msgspec.structs.replace(told, code=code, direction=1 if kind == "buy" else -1, filled_amount=amount)
            run.apply([Item(told, Cause("feedback", 0, number))])
        else:
            asked = Adjustment(pk=number, portfolio_id=first.portfolio_id, kind=kind, requested_at=MORNING)
            asked.amount = {"deposit": much, "withdrawal": -much}.get(kind, 0)
            if kind == "correction":
                asked.code, asked.volume, asked.price = code, much, Decimal(10)
            with suppress(Refused):
                run.ledger.append(books.book(run.portfolio, asked))
        moved = sum((entry.cash_change for entry in [*ledger, *run.ledger]), Decimal(0))
        assert to_decimal(run.portfolio.cash) == first.initial_cash + moved
        volume = sum(entry.direction * entry.volume for entry in [*ledger, *run.ledger] if entry.code)
        assert volume == (run.portfolio.positions[code].volume if code in run.portfolio.positions else 0)
        portfolio = run.portfolio
        assert portfolio.initial_cash + portfolio.realised + portfolio.unrealised == portfolio.total_value
