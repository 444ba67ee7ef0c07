"""The conformance suite finds what is wrong with a broker: a sound one passes, each of these breaks one promise."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from market.brokers.conformance import Conformance, check
from market.brokers.port import CannotTell, Execution, Report
from tests.docs.snippets import type_in

MODULES = ("toy_exchange", "my_broker", "test_my_broker")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The documentation's broker as a reader has typed it in, and a place to trade for it."""
    type_in("writing-a-broker.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_broker
    import test_my_broker

    monkeypatch.setattr("market.brokers.conformance.NEWS", 0.3)
    count = iter(range(1_000))

    def failures(broken: Callable[[type], type] | None = None, only: str = "test_") -> dict[str, str]:
        if broken is not None:
            monkeypatch.setattr(test_my_broker, "MyBroker", broken(my_broker.MyBroker))
        return check(lambda: test_my_broker.ToyVenue(tmp_path / f"book-{next(count)}.sqlite"), only)

    yield failures
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_sound_broker_passes(toy):
    assert toy() == {}


def forgets_its_sessions(sound: type, everything: bool = False, cancels: bool = True) -> type:
    """It cannot tell about orders of before it connected."""

    class Forgetful(sound):
        def start(self):
            super().start()
            self._session = set()

        def submit(self, tickets):
            self._session |= {ticket.order.order_id for ticket in tickets}
            return super().submit(tickets)

        def query(self, order_ids):
            found = super().query(order_ids)
            if found.keys() - self._session or (everything and order_ids):
                raise CannotTell("not in this session")
            return found

        def cancel(self, order_id, at, reason, cause=""):
            if order_id not in self._session and not cancels:
                raise CannotTell("not in this session")
            return super().cancel(order_id, at, reason, cause)

    return Forgetful


def test_one_that_cannot_tell_about_orders_of_before_a_restart_passes(toy):
    assert toy(forgets_its_sessions) == {}


def cannot_tell_at_all(sound: type) -> type:
    return forgets_its_sessions(sound, everything=True)


def leaves_working_what_it_cannot_tell_about(sound: type) -> type:
    return forgets_its_sessions(sound, cancels=False)


def changing(change: Callable[[Report], Report]) -> Callable[[type], type]:
    """A broker all of whose reports are changed."""

    def broken(sound: type) -> type:
        class Broken(sound):
            def query(self, order_ids):
                return {order_id: change(report) for order_id, report in super().query(order_ids).items()}

        return Broken

    return broken


def with_fills(change: Callable[[Execution], Execution]) -> Callable[[type], type]:
    return changing(lambda report: replace(report, executions=tuple(change(each) for each in report.executions)))


def loses_fills_on_restart(sound: type) -> type:
    """What was filled is in its memory only."""
    lives = defaultdict(set)

    class Broken(sound):
        def query(self, order_ids):
            found = super().query(order_ids)
            for order_id, report in found.items():
                lost = lives[order_id] - {self}
                if lost and report.executions:
                    found[order_id] = replace(report, state="working", executions=report.executions[1:])
                lives[order_id].add(self)
            return found

    return Broken


def forgets_orders_that_are_over(sound: type) -> type:
    class Broken(sound):
        def query(self, order_ids):
            return {key: report for key, report in super().query(order_ids).items() if report.state == "working"}

    return Broken


def repeats_fill_ids_after_a_restart(sound: type) -> type:
    class Broken(sound):
        def start(self):
            super().start()
            self._numbers = {}

        def query(self, order_ids):
            return {
                key: replace(report, executions=tuple(replace(e, fill_id=self._number(e)) for e in report.executions))
                for key, report in super().query(order_ids).items()
            }

        def _number(self, execution):
            return self._numbers.setdefault(execution.fill_id, f"fill-{len(self._numbers) + 1}")

    return Broken


def numbers_fills_by_order(sound: type) -> type:
    return changing(
        lambda report: replace(
            report, executions=tuple(replace(e, fill_id=f"fill-{n}") for n, e in enumerate(report.executions, 1))
        )
    )(sound)


def forgets_cancels(sound: type) -> type:
    """It says that it is cancelled, and lets it work on."""

    class Broken(sound):
        def cancel(self, order_id, at, reason, cause=""):
            report = self.query([order_id]).get(order_id)
            if report is None or report.state != "working":
                return report
            return replace(report, state="cancelled", reason=reason, ended_at=at)

    return Broken


def cancels_until_it_restarts(sound: type) -> type:
    class Broken(sound):
        def start(self):
            super().start()
            self._cancelled = {}

        def cancel(self, order_id, at, reason, cause=""):
            report = self.query([order_id]).get(order_id)
            if report is not None and report.state == "working":
                self._cancelled[order_id] = replace(report, state="cancelled", reason=reason, ended_at=at)
            return self._cancelled.get(order_id, report)

        def query(self, order_ids):
            return super().query(order_ids) | {key: self._cancelled[key] for key in order_ids if key in self._cancelled}

    return Broken


def invents_cancels(sound: type) -> type:
    class Broken(sound):
        def cancel(self, order_id, at, reason, cause=""):
            return super().cancel(order_id, at, reason) or Report(order_id, "cancelled", reason, at)

    return Broken


def ignores_a_cancel_with_a_cause(sound: type) -> type:
    class Broken(sound):
        def cancel(self, order_id, at, reason, cause=""):
            return self.query([order_id]).get(order_id) if cause else super().cancel(order_id, at, reason)

    return Broken


def cancel_overwrites_the_end(sound: type) -> type:
    class Broken(sound):
        def cancel(self, order_id, at, reason, cause=""):
            report = super().cancel(order_id, at, reason)
            return None if report is None else replace(report, state="cancelled", reason=reason, ended_at=at)

    return Broken


def executes_a_repeated_id_again(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            for ticket in tickets:
                order = ticket.order
                known = self.query([order.order_id]).get(order.order_id)
                if known is not None and known.state != "rejected":
                    self._api.place(
                        f"{order.order_id}-again", order.portfolio_id, "cn", order.code,
                        order.direction, order.volume, order.price, order.timestamp,
                    )  # fmt: skip
                super().submit([ticket])
            return [self.query([ticket.order.order_id])[ticket.order.order_id] for ticket in tickets]

    return Broken


def answers_a_repeated_id_as_new(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            return [replace(each, state="working", executions=()) for each in super().submit(tickets)]

    return Broken


def answers_each_id_once(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            return list({report.order_id: report for report in super().submit(tickets)}.values())

    return Broken


def answers_in_an_order_of_its_own(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            return super().submit(tickets)[::-1]

    return Broken


def reports_unknown_as_rejected(sound: type) -> type:
    class Broken(sound):
        def query(self, order_ids):
            found = super().query(order_ids)
            missing = [order_id for order_id in order_ids if order_id not in found]
            return found | {each: Report(each, "rejected", "unknown order") for each in missing}

    return Broken


def reports_unknown_as_cancelled(sound: type) -> type:
    class Broken(sound):
        def query(self, order_ids):
            found = super().query(order_ids)
            return found | {each: Report(each, "cancelled", "") for each in order_ids if each not in found}

    return Broken


def adds_up_partial_fills(sound: type) -> type:
    """Each execution has the volume filled so far."""

    def change(report: Report) -> Report:
        done, executions = 0, []
        for each in report.executions:
            done += each.volume
            executions.append(replace(each, volume=done, amount=each.price * done))
        return replace(report, executions=tuple(executions))

    return changing(change)(sound)


def keeps_only_the_last_fill(sound: type) -> type:
    return changing(lambda report: replace(report, executions=report.executions[-1:]))(sound)


def fills_beyond_the_limit(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            return super().submit([replace(t, order=_at_the_market(t.order)) for t in tickets])

    return Broken


def _at_the_market(order: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(order, price=None, order_type="market")


def keeps_its_news(sound: type) -> type:
    class Broken(sound):
        def news(self, timeout):
            self._stop.wait(timeout)
            return set()

    return Broken


def tells_news_for_ever(sound: type) -> type:
    class Broken(sound):
        def news(self, timeout):
            with self._news:
                self._news.wait_for(lambda: self._changed, timeout)
                return set(self._changed)

    return Broken


def tells_everybodys_news(sound: type) -> type:
    class Broken(sound):
        def unfollow(self, order_ids):
            pass

    return Broken


def news_never_returns_in_time(sound: type) -> type:
    class Broken(sound):
        def news(self, timeout):
            return super().news(timeout and timeout + 2.1)

    return Broken


def follows_only_what_it_submitted(sound: type) -> type:
    class Broken(sound):
        def follow(self, order_ids):
            pass

        def submit(self, tickets):
            super().follow(ticket.order.order_id for ticket in tickets)
            return super().submit(tickets)

    return Broken


def stop_cancels(sound: type) -> type:
    class Broken(sound):
        def stop(self, timeout):
            self._api.end("disconnected", datetime.fromisoformat("2024-03-05T02:00:00+00:00"))
            super().stop(timeout)

    return Broken


def stop_hangs(sound: type) -> type:
    class Broken(sound):
        def stop(self, timeout):
            if timeout < 1:  # as the test asks, not as the venue does when it closes
                threading.Event().wait(2.1)
            super().stop(timeout)

    return Broken


def a_stopped_thread_is_dead(sound: type) -> type:
    class Broken(sound):
        def dead_thread(self):
            return None if self._thread.is_alive() else self._thread.name

    return Broken


def never_expires(sound: type) -> type:
    return changing(lambda r: replace(r, state="working", reason="") if r.reason == "expired" else r)(sound)


def holdings_forget_fees(sound: type) -> type:
    class Broken(sound):
        def holdings(self, portfolio_ids):
            held = super().holdings(portfolio_ids)
            (fees,) = self._api.ask("SELECT coalesce(sum(fee), 0) FROM fills")[0]
            return replace(held, cash=held.cash + round(fees * 10_000))

    return Broken


def executes_what_it_cannot(sound: type) -> type:
    class Broken(sound):
        def submit(self, tickets):
            return super().submit([replace(ticket, market="cn") for ticket in tickets])

    return Broken


def quotes_in_currency(sound: type) -> type:
    class Broken(sound):
        def quote(self, code):
            quote = super().quote(code)
            return None if quote is None else quote._replace(price=quote.price // 10_000)

    return Broken


def has_no_name(sound: type) -> type:
    class Broken(sound):
        def start(self):
            super().start()
            self.name = ""

    return Broken


def quotes_what_it_has_not_seen(sound: type) -> type:
    class Broken(sound):
        def quote(self, code):
            return super().quote(code) or super().quote("600519.SH")._replace(price=0)

    return Broken


MUTANTS = [
    (loses_fills_on_restart, "after_a_restart_it_knows_everything"),
    (loses_fills_on_restart, "what_happened_while_nobody_was_connected"),
    (forgets_orders_that_are_over, "orders_that_are_over"),
    (repeats_fill_ids_after_a_restart, "no_two_orders_share_a_fill_id"),
    (numbers_fills_by_order, "no_two_orders_share_a_fill_id"),
    (forgets_cancels, "a_cancel_ends_a_working_order"),
    (cancels_until_it_restarts, "a_cancel_holds_after_a_restart"),
    (invents_cancels, "a_cancel_of_what_it_never_received"),
    (ignores_a_cancel_with_a_cause, "a_cancel_that_says_its_cause"),
    (cancel_overwrites_the_end, "a_cancel_that_comes_too_late"),
    (changing(lambda r: replace(r, executions=()) if r.state == "cancelled" else r), "a_cancel_keeps_what_was_filled"),
    (executes_a_repeated_id_again, "the_same_id_is_executed_once"),
    (executes_a_repeated_id_again, "the_same_id_is_known_after_a_restart"),
    (answers_a_repeated_id_as_new, "the_same_id_is_executed_once"),
    (answers_each_id_once, "the_same_id_twice_in_one_call"),
    (answers_in_an_order_of_its_own, "it_answers_orders_in_their_order"),
    (reports_unknown_as_rejected, "an_order_that_it_never_received"),
    (reports_unknown_as_cancelled, "an_order_that_it_never_received"),
    (cannot_tell_at_all, "an_order_that_it_cannot_tell_about"),
    (cannot_tell_at_all, "an_order_that_it_never_received"),
    (leaves_working_what_it_cannot_tell_about, "an_order_that_it_cannot_tell_about"),
    (adds_up_partial_fills, "partial_fills_add_up"),
    (keeps_only_the_last_fill, "partial_fills_add_up"),
    (fills_beyond_the_limit, "a_limit_order_is_never_filled_beyond"),
    (keeps_its_news, "a_fill_is_news"),
    (tells_news_for_ever, "news_is_of_orders_and_told_once"),
    (tells_everybodys_news, "of_orders_that_are_another_engines"),
    (news_never_returns_in_time, "without_news"),
    (follows_only_what_it_submitted, "after_a_restart_it_knows_everything"),
    (stop_cancels, "it_stops_in_time"),
    (stop_hangs, "it_stops_in_time"),
    (a_stopped_thread_is_dead, "it_stops_in_time"),
    (never_expires, "an_order_ends_with_its_session"),
    (holdings_forget_fees, "a_sale_is_filled_too"),
    (executes_what_it_cannot, "what_it_cannot_execute"),
    (quotes_in_currency, "it_tells_the_last_price"),
    (quotes_what_it_has_not_seen, "it_tells_the_last_price"),
    (has_no_name, "it_has_a_name"),
    (with_fills(lambda e: replace(e, price=e.price / 10_000)), "a_fill_is_news"),
    (with_fills(lambda e: replace(e, price=e.price // 10_000, amount=e.amount // 10_000)), "a_fill_is_news"),
    (with_fills(lambda e: replace(e, amount=e.price)), "a_fill_is_news"),
    (with_fills(lambda e: replace(e, timestamp=e.timestamp.replace(tzinfo=None))), "a_fill_is_news"),
    (with_fills(lambda e: replace(e, commission=-e.commission)), "a_fill_is_news"),
    (with_fills(lambda e: replace(e, fill_id=e.fill_id * 20)), "a_fill_is_news"),
    (changing(lambda r: replace(r, state="working") if r.state == "filled" else r), "a_fill_is_news"),
    (changing(lambda r: replace(r, ended_at=None)), "an_order_ends_with_its_session"),
    (changing(lambda r: replace(r, reason="")), "what_it_cannot_execute"),
]


@pytest.mark.parametrize(("mutant", "test"), MUTANTS)
def test_a_broken_broker_fails(toy, mutant, test):
    assert list(toy(mutant, f"test_{test}").values()) != []


def test_no_test_of_the_suite_is_idle():
    """Each has caught something: one that nothing fails would be no test."""
    caught = {name for _, test in MUTANTS for name in dir(Conformance) if name.startswith(f"test_{test}")}
    assert caught == {name for name in dir(Conformance) if name.startswith("test_")}
