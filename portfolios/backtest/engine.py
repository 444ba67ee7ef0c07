"""The backtest's loop: prices into the kernel, its orders to the simulated exchange, the answers back (SPEC P8).

One price is: the portfolio applies it → the orders that rest meet it (`kernel.exchange.match`), by their ids, and the
fills are told → what the portfolio asked for is answered, in its order. That is the live path in lock step, where the
feed waits for every answer, so orders, fills and feedback are the same, ids and times included: causes count each
partition's offsets from 0, or are those of a recorded log (`placed`). No I/O, no clock, no randomness.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from itertools import chain
from typing import Any, TypeAlias

from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import NEVER, Locate, Place, locate
from portfolios.backtest.result import Refusal, Result, Traded
from portfolios.kernel.events import Cause, Feedback, FeedbackType, PriceUpdate
from portfolios.kernel.exchange import Expired, Fill, Resting, advance, is_after, match, rest
from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.orders import Intent, Order
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import Session

SLIPPAGE_RATE = 0.001
"""The simulated broker's own default."""

Gate: TypeAlias = Callable[[Order, Portfolio], str | None]
"""Pre-trade checks: the reason why an order must not trade, or None."""

Hear: TypeAlias = Callable[[Feedback], object]
"""Is told every answer to an order, as the portfolio is."""

FEEDBACK_TOPIC = "ginkgo.live.orders.feedback"

_STATUS: dict[FeedbackType, str] = {
    "order_ack": "accepted",
    "order_partially_filled": "partially_filled",
    "order_filled": "filled",
    "order_rejected": "rejected",
    "order_cancelled": "cancelled",
}


class _Partition:
    """A partition of the log at its next offset; has what a `Cause` has."""

    __slots__ = ("offset", "partition", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = 0


class _Line:
    """One code: its place in the log, last good price, and what its session's limits follow from (0: nothing)."""

    __slots__ = ("base", "partition", "price", "resting")

    def __init__(self, partition: _Partition) -> None:
        self.partition = partition
        self.price = 0.0
        self.base = 0.0
        self.resting: dict[str, Resting] = {}


class Backtest:
    """One run of one portfolio, fresh from its constructor; use once.

    `locate` places codes in the log, `gate` judges each order before the exchange has it, `hear` is told every answer,
    `on_session` each session that begins.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        *,
        slippage_rate: float = SLIPPAGE_RATE,
        locate: Locate = locate,
        gate: Gate | None = None,
        hear: Hear | None = None,
        on_session: Callable[[date], None] | None = None,
    ) -> None:
        self._portfolio = portfolio
        self._rules = portfolio.rules
        self._slippage_rate = slippage_rate
        self._locate = locate
        self._gate = gate
        self._hear = hear
        self._on_session = on_session
        self._st = frozenset(portfolio.config.policy.st)
        self._lines: dict[str, _Line] = {}
        self._partitions: dict[Place, _Partition] = {}
        self._seqs: dict[str, int] = {}
        self._code_of: dict[str, str] = {}
        self._session: Session | None = None
        self._end = NEVER
        self._result = Result(portfolio.portfolio_id, self._rules.currency, portfolio.initial_cash)
        self._result.closes = {code: array("d") for code in portfolio.config.codes}

    def run(self, ticks: Iterable[PriceUpdate], start: date | None = None, end: date | None = None) -> Result:
        """Trades the prices of the sessions from `start` to `end`; earlier ones warm the strategy up.

        `ticks` in the order of their time, of whatever codes; all of them count in the offsets. BacktestError if there
        is none in that time, or if a component fails.
        """
        stream = iter(ticks)
        first = self._warm_up(stream, start)
        if first is not None:
            self._trade(chain((first,), stream), end)
        result = self._result
        if not result.days:
            raise BacktestError(f"there are no prices {_between(start, end)}")
        portfolio = self._portfolio
        result.open_orders = len(portfolio.open_orders())
        result.cash, result.fees = portfolio.cash, portfolio.fees
        result.positions = {code: each.volume for code, each in sorted(portfolio.positions.items())}
        return result

    def placed(self, log: Iterable[tuple[PriceUpdate, Cause]]) -> Iterator[PriceUpdate]:
        """The prices of a recorded log, for `run`: their places there are those of this run."""
        for tick, (topic, number, offset) in log:
            place = Place(topic, number)
            partition = self._partitions.get(place)
            if partition is None:
                partition = self._partitions[place] = _Partition(*place)
            line = self._lines.get(tick.code)
            if line is None:
                line = self._lines[tick.code] = _Line(partition)
            line.partition = partition
            partition.offset = offset  # read, and counted up, before the next is asked for
            yield tick

    def _warm_up(self, stream: Iterator[PriceUpdate], start: date | None) -> PriceUpdate | None:
        """Shows the portfolio what was before `start`; the first price that is not."""
        begin = self._rules.session_on(start).start if start is not None else None
        for tick in stream:
            if begin is None or tick.timestamp >= begin:
                return tick
            line = self._lines.get(tick.code) or self._line(tick.code)
            line.partition.offset += 1
            if tick.timestamp >= self._end:
                self._enter(tick)
            if tick.price > 0:
                line.price = tick.price
            self._portfolio.warm_up(tick)
            self._result.warmup += 1
        return None

    def _trade(self, stream: Iterable[PriceUpdate], end: date | None) -> None:
        lines = self._lines
        # A partition at its offset is the cause: read at once, and so quickly that none has to be made for most prices.
        apply: Callable[[PriceUpdate, Any], list[Intent]] = self._portfolio.apply
        session_end = NEVER
        bars = 0
        last = NEVER
        tick: PriceUpdate | None = None
        try:
            for tick in stream:
                if tick.timestamp >= session_end:
                    if end is not None and self._rules.session_at(tick.timestamp).day > end:
                        break
                    if bars:
                        self._close_session()
                    else:
                        self._result.first = tick.timestamp
                    session_end = self._enter(tick)
                line = lines.get(tick.code) or self._line(tick.code)
                if tick.price > 0:
                    line.price = tick.price
                partition = line.partition
                intents = apply(tick, partition)
                if line.resting:
                    self._match(line, tick, Cause(partition.topic, partition.partition, partition.offset))
                partition.offset += 1
                if intents:
                    self._take(intents)
                bars += 1
                last = tick.timestamp
        except BacktestError:
            raise
        except Exception as error:  # whatever a user's component raises is told as its fault, with the price it was at
            assert tick is not None
            name = self._portfolio.config.strategy.name
            what = f"{name}, or a rule or sizer beside it, failed at {tick.code}, {tick.timestamp}"
            raise BacktestError(f"{what}: {type(error).__name__}: {error}") from error
        if bars:
            self._close_session()
            self._result.bars, self._result.last = bars, last

    # Sessions ------------------------------------------------------------------------------------------------------

    def _enter(self, tick: PriceUpdate) -> datetime:
        """A new session: the last prices so far are what its limits follow from. Its end."""
        session = self._session = self._rules.session_at(tick.timestamp)
        self._end = session.end
        for line in self._lines.values():
            if line.price:
                line.base = line.price
        if self._on_session is not None:
            self._on_session(session.day)
        return session.end

    def _close_session(self) -> None:
        result = self._result
        assert self._session is not None
        result.days.append(self._session.day)
        result.equity.append(self._portfolio.total_value)
        for code, closes in result.closes.items():
            line = self._lines.get(code)
            closes.append(line.price if line is not None else 0.0)

    def _line(self, code: str) -> _Line:
        place = self._locate(code)
        partition = self._partitions.setdefault(place, _Partition(*place))
        line = self._lines[code] = _Line(partition)
        return line

    # The exchange --------------------------------------------------------------------------------------------------

    def _match(self, line: _Line, tick: PriceUpdate, at: Cause) -> None:
        if tick.prev_close is not None:
            base: int | None = to_units(tick.prev_close)
        else:
            base = to_units(line.base) if line.base else None
        for order_id, order in sorted(line.resting.items()):
            done = match(order, tick, at, self._rules, self._slippage_rate, base)
            if isinstance(done, Expired):
                del line.resting[order_id]
                self._result.expired += 1
                self._answer("order_cancelled", order_id, done.timestamp, reason=done.reason)
            elif done is None:
                if is_after(order, tick, at):
                    line.resting[order_id] = advance(order, at)
            else:
                if done.remaining:
                    line.resting[order_id] = advance(order, at, done)
                else:
                    del line.resting[order_id]
                self._result.fills.append(Traded(done, order.session, base))
                self._answer_fill(done)

    def _take(self, intents: list[Intent]) -> None:
        for intent in intents:
            if not isinstance(intent, Order):
                self._result.cancels.append(intent)
                code = self._code_of.get(intent.order_id)  # None: it was over before the cancel came
                if code is not None and self._lines[code].resting.pop(intent.order_id, None) is not None:
                    self._answer("order_cancelled", intent.order_id, intent.timestamp, reason="cancelled")
                continue
            self._result.orders.append(intent)
            self._code_of[intent.order_id] = intent.code
            self._seqs[intent.order_id] = 0
            refusal = self._gate(intent, self._portfolio) if self._gate is not None else None
            if refusal is not None:
                self._result.refusals.append(Refusal(intent, refusal))
                self._answer("order_rejected", intent.order_id, intent.timestamp, reason=refusal)
                continue
            line = self._lines.get(intent.code) or self._line(intent.code)
            line.resting[intent.order_id] = rest(intent, self._rules, st=intent.code in self._st)
            self._answer("order_ack", intent.order_id, intent.timestamp)

    # Feedback ------------------------------------------------------------------------------------------------------

    def _answer_fill(self, fill: Fill) -> None:
        self._answer(
            "order_partially_filled" if fill.remaining else "order_filled",
            fill.order_id,
            fill.timestamp,
            fill_id=fill.fill_id,
            code=fill.code,
            direction=fill.direction,
            filled_volume=fill.volume,
            remaining_volume=fill.remaining,
            filled_price=to_float(fill.price),
            filled_amount=to_float(fill.amount),
            commission=to_float(fill.commission),
            tax=to_float(fill.tax),
        )

    def _answer(self, event_type: FeedbackType, order_id: str, at: datetime, **fields: Any) -> None:
        """Tells the portfolio, as the engine would: `seq` counts the order's answers, `pseq` the portfolio's."""
        seq = self._seqs[order_id] + 1
        pseq = self._portfolio.pseq + 1
        feedback = Feedback(
            event_type=event_type,
            timestamp=at,
            order_id=order_id,
            portfolio_id=self._portfolio.portfolio_id,
            seq=seq,
            pseq=pseq,
            status=_STATUS[event_type],
            **fields,
        )
        self._portfolio.apply(feedback, Cause(FEEDBACK_TOPIC, 0, pseq - 1))
        if self._hear is not None:
            self._hear(feedback)
        if event_type in ("order_ack", "order_partially_filled"):
            self._seqs[order_id] = seq
        else:
            del self._seqs[order_id], self._code_of[order_id]


def _between(start: date | None, end: date | None) -> str:
    if start is not None and end is not None:
        return f"from {start} to {end}"
    if start is not None:
        return f"from {start} on"
    return f"up to {end}" if end is not None else "in the data"
