"""Books that differ anywhere are found, whichever of the four is wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db.models import F

from ginkgo_site.drill import books as judged
from market.models import BrokerFill, Fill
from portfolios.kernel import state as saved
from portfolios.kernel.ledger import Position
from portfolios.kernel.money import to_units
from portfolios.models import Checkpoint, LedgerEntry, Portfolio
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db


@pytest.fixture
def traded() -> Portfolio:
    """One that has bought 100 for 170,102.715, all fees included, and whose books all say so."""
    made = books.portfolio("traded", books.administrator())
    books.order(made, 1)
    state(made, 100, Decimal("-170102.715"))
    return made


def state(of: Portfolio, volume: int, spent: Decimal) -> None:
    """Its own books say that it holds so much, and that its cash changed by so much."""
    row = Checkpoint.objects.get(portfolio=of)
    was = saved.decode(bytes(row.state))
    was.ledger.cash = to_units(of.initial_cash + spent)
    was.ledger.positions = {"600519.SH": Position(code="600519.SH", volume=volume)}
    Checkpoint.objects.filter(portfolio=of).update(state=saved.encode(was))


def test_books_that_agree_are_right(traded: Portfolio) -> None:
    assert judged.differences(traded.id) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda of: state(of, 200, Decimal("-170102.715")), "600519.SH is 100 by the broker's book, 200 by its own"),
        (lambda of: state(of, 100, Decimal("-170102")), "cash is"),
        (lambda _of: BrokerFill.objects.update(volume=F("volume") + 100), "600519.SH is 200 by the broker's book"),
        (lambda _of: BrokerFill.objects.update(commission=0), "cash is"),
        (lambda _of: BrokerFill.objects.all().delete(), "600519.SH is 0 by the broker's book"),
        (lambda _of: BrokerFill.objects.update(fill_id="another"), "2 fills are not the same for engine and broker"),
        (lambda _of: Fill.objects.update(direction=-1), "600519.SH is -100 by the engine's fills"),
        (lambda _of: LedgerEntry.objects.update(volume=300), "600519.SH is 300 by the ledger"),
        (lambda _of: LedgerEntry.objects.update(cash_change=0), "by the ledger"),
        (lambda _of: Checkpoint.objects.update(state=b""), "has no books of its own"),
    ],
)
def test_whatever_differs_is_said(traded: Portfolio, spoil: Callable[[Portfolio], object], said: str) -> None:
    spoil(traded)
    assert any(said in each for each in judged.differences(traded.id)), judged.differences(traded.id)
