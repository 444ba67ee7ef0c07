"""When a price has had all its consequences: the decision, and what a lock step needs to begin."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from market.feeds.lock_step import Look, Standing, behind, unsettled
from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.exchange import Resting

TOPIC, CODE = "ginkgo.live.market.data", "600519.SH"
MOMENT = datetime(2024, 3, 5, 2, 0, tzinfo=UTC)
TICK = PriceUpdate(code=CODE, timestamp=MOMENT, price=10.0)
AT = Cause(TOPIC, 3, 17)
DONE = Standing("mine", "running", 5, {TOPIC: {"3": 18}}, frozenset({CODE}), 0)
RESTING = Resting(
    order_id="o", portfolio_id="p", code=CODE, direction=1, volume=100, price=None, timestamp=MOMENT,
    session=MOMENT.date(), cause=AT, topic=TOPIC, partition=3, offset=17,
)  # fmt: skip
QUIET = Look({"o": RESTING}, {"o": ("accepted", 0)}, {"p": 5}, {"p": DONE})


def test_when_all_is_booked_and_answered_nothing_moves() -> None:
    assert unsettled(QUIET, TICK, AT) == ""
    assert unsettled(Look({}, {}, {}, {}), TICK, AT) == ""


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (replace(QUIET, portfolios={"p": replace(DONE, offsets={TOPIC: {"3": 17}})}), "mine to decide on"),
        (replace(QUIET, portfolios={"p": replace(DONE, offsets={})}), "mine to decide on"),
        (replace(QUIET, portfolios={"p": replace(DONE, waiting=2)}), "answers to 2 orders"),
        (replace(QUIET, portfolios={"p": replace(DONE, pseq=4)}), "to book its feedback 5"),
        (replace(QUIET, portfolios={"p": replace(DONE, status="reloading")}), "to run .it is reloading"),
        (replace(QUIET, booked={"o": ("sending", 0)}), "order o .sending. to be booked"),
        (replace(QUIET, working={}), "order o .accepted. to be booked"),
        (replace(QUIET, working={"o": msgspec.structs.replace(RESTING, filled=30)}), "to be booked"),
        (replace(QUIET, working={"o": msgspec.structs.replace(RESTING, offset=16)}), "the exchange to show"),
    ],
)
def test_it_waits_for_what_still_moves_and_says_what_it_is(look: Look, words: str) -> None:
    assert re.search(words, unsettled(look, TICK, AT))


def test_who_does_not_follow_a_code_need_not_decide_on_it() -> None:
    other = replace(DONE, codes=frozenset({"000001.SZ"}), offsets={})
    assert unsettled(replace(QUIET, portfolios={"p": other}), TICK, AT) == ""


def test_an_order_of_another_partitions_cause_is_waited_for_only_by_later_prices() -> None:
    elsewhere = msgspec.structs.replace(RESTING, partition=8, offset=1)
    look = replace(QUIET, working={"o": elsewhere})
    assert unsettled(look, TICK, AT) == ""
    later = msgspec.structs.replace(TICK, timestamp=MOMENT + timedelta(seconds=1))
    assert "the exchange to show" in unsettled(look, later, AT)


def test_before_the_first_price_everybody_has_read_the_market_and_nothing_else_to_its_end() -> None:
    read = replace(DONE, offsets={TOPIC: {"3": 18}, "ginkgo.live.orders.feedback": {"1": 2}})
    look = replace(QUIET, portfolios={"p": read})
    assert behind(look, TOPIC, {3: 18, 4: 99}) == ""
    assert "mine to read ginkgo.live.market.data:3 from 18" in behind(look, TOPIC, {3: 19})
