"""Warm-up: on a first start, and under a new configuration, strategies see the past before the present (SPEC P10).

It comes from history, up to where the portfolio begins to read the log and no further, and is part of the first
checkpoint of a version: a failover finds it there and asks nobody. History may be away or slow: after a second the
portfolio starts cold, and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from itertools import islice

from django.conf import settings

from market.history.reader import PERIODS, Bar, HistoryAway, Place, Reader
from nodes.runtime import Runtime
from nodes.subscription import Position
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.portfolio import Portfolio

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a start may wait for history."""
_AGAIN = 30.0
"""Seconds for which history is not asked again once it did not answer."""
_OPEN_BAR = 50_000
"""Most ticks of bars that are not complete yet; beyond them those bars begin with the first live price."""


class History:
    """History as a node asks it: an answer in `patience` seconds, or none. `make` opens a reader."""

    def __init__(self, make: Callable[[float], Reader] | None = None, patience: float = PATIENCE) -> None:
        self._make = make or (lambda timeout: Reader(timeout=timeout))
        self._patience = patience
        self._away_until = float("-inf")

    def ask(self, question: Callable[[Reader], list[PriceUpdate]]) -> list[PriceUpdate]:
        """What `question` returns. Raises HistoryAway, also if it takes too long: no name server holds us up either."""
        if not settings.GINKGO.history.warm_up:
            raise HistoryAway("history.warm_up is off")
        if time.monotonic() < self._away_until:
            raise HistoryAway("it did not answer a moment ago")
        answered = threading.Event()
        answers: list[list[PriceUpdate]] = []
        failures: list[Exception] = []

        def ask() -> None:
            try:
                with self._make(self._patience) as reader:
                    answers.append(question(reader))
            except Exception as error:
                log.debug("History could not be asked", exc_info=True)
                failures.append(error)  # for the thread that waits for it
            finally:
                answered.set()

        threading.Thread(target=ask, name="history_warm_up", daemon=True).start()
        if not answered.wait(self._patience):
            self._away_until = time.monotonic() + _AGAIN
            raise HistoryAway(f"no answer in {self._patience:g} s")
        if not failures:
            return answers[0]
        if isinstance(failures[0], HistoryAway):
            raise failures[0]
        raise HistoryAway(f"{type(failures[0]).__name__}: {failures[0]}")


def warm_up(
    run: Runtime,
    history: History,
    codes: Collection[str],
    starts: Mapping[Position, int],
    topic_ids: Mapping[str, str],
    position_of: Callable[[str], Collection[Position]],
) -> None:
    """Show a portfolio the past of those of `codes` of which it remembers nothing, and say what came of it.

    Of each only what lies before `starts`, from which its partition will be read. A component that fails at its past
    starts without one.
    """
    portfolio = run.portfolio
    cold = sorted(portfolio.cold.intersection(codes))
    if not cold or not portfolio.warmup_bars:
        return
    places = {code: _place(position_of(code), starts, topic_ids) for code in cold}
    said = _show(run, history, cold, places)
    log.info("Portfolio %s %s", run.portfolio_id, said)


def _place(positions: Collection[Position], starts: Mapping[Position, int], ids: Mapping[str, str]) -> Place | None:
    """Where a code's live prices begin; None where that is nowhere yet, or in several partitions."""
    if len(positions) != 1:
        return None
    (position,) = positions
    topic, partition = position
    return Place(ids[topic], partition, starts[position]) if topic in ids and position in starts else None


def _show(run: Runtime, history: History, cold: list[str], places: Mapping[str, Place | None]) -> str:
    portfolio = run.portfolio
    bar, count = portfolio.config.policy.bar, portfolio.warmup_bars
    try:
        past = history.ask(lambda reader: _past(reader, cold, places, bar, count))
    except HistoryAway as error:
        return f"starts cold: {error}"
    before = portfolio.snapshot()
    try:
        for tick in past:
            portfolio.warm_up(tick)
    except Exception as error:  # a component is anybody's code
        run.portfolio = Portfolio.restore(before, portfolio.portfolio_id, portfolio.config, portfolio.rules)
        log.exception("Portfolio %s: a component fails at its past", run.portfolio_id)
        return f"starts cold: a component fails at its past: {type(error).__name__}: {error}"
    run.dirty = True
    known = len({tick.code for tick in past})
    return f"has seen {len(past)} prices of the past, of {known} of {len(cold)} codes"


def _past(
    reader: Reader, codes: list[str], places: Mapping[str, Place | None], bar: str, count: int
) -> list[PriceUpdate]:
    """In the order of its time."""
    together: dict[Place | None, list[str]] = defaultdict(list)
    for code in codes:
        together[places.get(code)].append(code)
    found: list[PriceUpdate] = []
    for place, some in together.items():
        if bar not in PERIODS:
            found += reader.last_ticks(some, count, place)
        else:
            found += _bars(reader, some, place, bar, count)
    return sorted(found, key=lambda tick: tick.timestamp)


def _bars(reader: Reader, codes: list[str], place: Place | None, period: str, count: int) -> list[PriceUpdate]:
    """Complete bars, and the ticks of those that are not complete yet."""
    # One more: the last is handed on when the price after it comes.
    bars = reader.last_bars(codes, count + 1, place, period)
    if not bars:
        return []
    last = {each.code: each.timestamp for each in bars}
    open_bar = list(islice(reader.ticks(last, min(last.values()), before=place), _OPEN_BAR + 1))
    if len(open_bar) > _OPEN_BAR:
        open_bar = []
    found = [tick for each in bars for tick in _ticks_of(each)]
    return found + [tick for tick in open_bar if tick.timestamp > last[tick.code]]


def _ticks_of(bar: Bar) -> list[PriceUpdate]:
    """Prices that make this bar again in a portfolio's own builder."""
    closing = PriceUpdate(
        code=bar.code, timestamp=bar.timestamp, price=bar.close, prev_close=bar.prev_close, volume=bar.volume
    )
    if bar.open == bar.high == bar.low == bar.close:
        return [closing]
    earlier = [
        PriceUpdate(code=bar.code, timestamp=bar.begins, price=price, prev_close=bar.prev_close)
        for price in (bar.open, bar.high, bar.low)
    ]
    return [*earlier, closing]
