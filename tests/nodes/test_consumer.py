"""Routing, on a real Kafka; and what happens to a full queue, step by step, without one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from market import bus
from market.messages import decode_price, encode
from market.poison import PoisonCounter
from nodes.consumer import LogConsumer
from nodes.joiner import Reader
from nodes.readers import Readers
from nodes.subscription import Gap, Item, Subscription
from tests.nodes.log import Log, position_of
from tests.nodes.support import TOPIC, Alerts, item, tick
from tests.support import eventually

NewCode = Callable[..., str]


def wants(*codes: str, policy: str | None = "catch_up", limit: int = 100_000, name: str = "p1") -> Subscription:
    keys = frozenset(code.encode() for code in codes)
    return Subscription(name, keys, policy, limit, lambda: None)  # type: ignore[arg-type]


def queued(subscription: Subscription) -> list[Item]:
    return [one for batch in list(subscription.batches) for one in batch]


def offsets(items: list[Item]) -> list[int]:
    return [one.cause.offset for one in items]


# -- routing -----------------------------------------------------------------------------------------------------------


def test_an_event_goes_to_all_who_want_it_decoded_once(log: Log, alerts: Alerts, new_code: NewCode) -> None:
    code = new_code()
    consumer = log.consumer(alerts)
    one, two = wants(code), wants(code, name="p2")
    for subscription in (one, two):
        assert consumer.attach(subscription, log.ends(code), 10) is not None
    log.ticks(code, range(5))
    eventually(lambda: len(queued(one)) == len(queued(two)) == 5, saying="five events each")
    assert [a.event is b.event for a, b in zip(queued(one), queued(two), strict=True)] == [True] * 5


def test_what_nobody_wants_is_passed_over_and_the_position_moves_on(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    wanted = new_code(4)
    unwanted = new_code(4)
    consumer = log.consumer(alerts)
    subscription = wants(wanted)
    assert consumer.attach(subscription, log.ends(wanted), 10) is not None
    log.ticks(unwanted, range(50))
    end = log.end(position_of(wanted))
    eventually(lambda: consumer.positions[position_of(wanted)] == end, saying="the position at the end")
    assert queued(subscription) == []
    assert consumer.seen == 50


def test_it_reads_only_the_partitions_that_are_needed(log: Log, alerts: Alerts, new_code: NewCode) -> None:
    a, b = new_code(1), new_code(2)
    consumer = log.consumer(alerts)
    consumer.attach(wants(a), log.ends(a), 10)
    consumer.attach(wants(b, name="p2"), log.ends(b), 10)
    assert set(consumer.positions) == {position_of(a), position_of(b)}
    consumer.detach("p1")
    eventually(lambda: set(consumer.positions) == {position_of(b)}, saying="the partition given up")
    assert consumer.interest.keys() == [b]


def test_attached_a_second_time_it_wants_what_it_wants_now(log: Log, alerts: Alerts, new_code: NewCode) -> None:
    a, b = new_code(1), new_code(2)
    consumer = log.consumer(alerts)
    subscription = wants(a)
    consumer.attach(subscription, log.ends(a), 10)
    subscription.keys = frozenset({b.encode()})
    consumer.attach(subscription, log.ends(b), 10)
    assert set(consumer.positions) == {position_of(b)}
    assert consumer.interest.keys() == [b]


def test_from_the_join_point_on_everything_is_in_the_queue_and_nothing_before_it(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    code = new_code(6)
    consumer = log.consumer(alerts)
    consumer.attach(wants(new_code(6), name="other"), log.ends(code), 10)  # the partition is being read already
    log.ticks(code, range(100))
    end = log.end(position_of(code))
    eventually(lambda: consumer.positions[position_of(code)] == end, saying="the position at the end")
    subscription = wants(code)
    attached = consumer.attach(subscription, {position_of(code): 0}, 10)
    assert attached is not None
    assert attached.joins == {position_of(code): end}
    log.ticks(code, range(100, 110))
    eventually(lambda: len(queued(subscription)) == 10, saying="ten events")
    assert offsets(queued(subscription)) == list(range(end, end + 10))


POISON = [
    b"no json",
    b"\xff\xfe",
    None,
    b"{}",
    b'{"event_type":"price_update","code":"x","timestamp":"2024-03-05T02:00:00Z","price":"dear"}',
    b'{"event_type":"price_update","code":"\xff","timestamp":"2024-03-05T02:00:00Z","price":1}',
    b'{"event_type":"price_update","x":' + b"[" * 20_000,
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
def test_what_cannot_be_decoded_is_counted_said_and_skipped(
    log: Log, alerts: Alerts, new_code: NewCode, poison: bytes | None
) -> None:
    code = new_code()
    consumer = log.consumer(alerts)
    subscription = wants(code)
    consumer.attach(subscription, log.ends(code), 10)
    where = log.end(position_of(code))
    log.raw(TOPIC, code, poison)
    log.ticks(code, range(1))
    eventually(lambda: len(queued(subscription)) == 1, saying="the event after it")
    assert consumer.is_alive()
    assert consumer.poison.count == 1
    (alert,) = alerts.raised
    assert f"{TOPIC}:{position_of(code)[1]}:{where}" in alert.message


def test_an_offset_that_the_log_no_longer_holds_halts_whoever_needs_it(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    code = new_code(7)
    other = new_code(8)
    log.ticks(code, range(20))
    first = log.truncate(position_of(code))
    consumer = log.consumer(alerts)
    untouched = wants(other, name="p2")
    consumer.attach(untouched, log.ends(other), 10)
    subscription = wants(code)
    consumer.attach(subscription, {position_of(code): first - 5}, 10)
    eventually(lambda: subscription.halted, saying="the halt")
    assert subscription.halted == {position_of(code): first - 5}
    assert untouched.halted is None
    assert alerts.types == ["data_gap"]
    # It joins again, from what there is.
    attached = consumer.attach(subscription, log.ends(code), 10)
    assert attached is not None
    assert attached.halted == {position_of(code): first - 5}
    log.ticks(code, range(3))
    eventually(lambda: offsets(queued(subscription)) == [first, first + 1, first + 2], saying="what comes after")


def test_a_consumer_that_is_paused_routes_nothing_and_still_answers(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    code = new_code()
    consumer = log.consumer(alerts)
    consumer.paused.set()
    subscription = wants(code)
    assert consumer.attach(subscription, log.ends(code), 10) is not None
    log.ticks(code, range(3))
    consumer.paused.clear()
    eventually(lambda: len(queued(subscription)) == 3, saying="what came meanwhile")


def test_a_consumer_that_does_not_answer_in_time_says_so(alerts: Alerts) -> None:
    silent = LogConsumer("m", lambda: None, decode_price, alerts.alerter)  # type: ignore[arg-type, return-value]
    assert silent.attach(wants("600519.SH"), {}, timeout=0.05) is None


# -- reading a gap -----------------------------------------------------------------------------------------------------


def test_a_gap_is_read_to_its_end_and_no_further(log: Log, alerts: Alerts, new_code: NewCode) -> None:
    code, other = new_code(5), new_code(5)
    start = log.end(position_of(code))
    log.ticks(code, range(10))
    log.ticks(other, range(10))
    log.raw(TOPIC, code, b"poison")
    log.ticks(code, range(10, 30))
    end = log.end(position_of(code)) - 5
    poison = PoisonCounter(alerts.alerter)
    readers = Readers(lambda: bus.make_consumer("test.join", None, **{"enable.partition.eof": True}))

    def read(gap: Gap) -> list[int]:
        with readers.lend() as client:
            reader = Reader(client, decode_price, poison)
            marks = reader.watermarks({position_of(code)})
            assert marks[position_of(code)][1] == end + 5
            found = reader.read({position_of(code): gap}, frozenset({code.encode()}), threading.Event())
            return offsets([one for batch in found for one in batch])

    assert read(Gap(start, end)) == [*range(start, start + 10), *range(start + 21, end)]
    assert poison.count == 1
    # The same client again, from before and from behind where it has been.
    assert read(Gap(start + 2, start + 5)) == [start + 2, start + 3, start + 4]
    assert read(Gap(end + 2, end + 5)) == [end + 2, end + 3, end + 4]
    for again in range(20):
        assert read(Gap(start + again % 7, start + 8)) == [*range(start + again % 7, start + 8)]
    readers.close()


def test_what_was_deleted_from_the_middle_of_a_gap_does_not_hold_it_up(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    """The offsets of a transaction's marks have no message, at the end of a gap neither."""
    code = new_code(6)
    start = log.end(position_of(code))
    with_marks = Producer({"bootstrap.servers": bus.bootstrap(), "transactional.id": f"test.{code}"})
    with_marks.init_transactions(20)
    for number in range(3):
        with_marks.begin_transaction()
        with_marks.produce(TOPIC, key=code, value=encode(tick(number, code)), partition=position_of(code)[1])
        with_marks.commit_transaction(20)
    end = start + 6
    eventually(lambda: log.end(position_of(code)) == end, saying="the last mark, which comes after the answer")
    with Readers(lambda: bus.make_consumer("test.join", None, **{"enable.partition.eof": True})).lend() as client:
        reader = Reader(client, decode_price, PoisonCounter(alerts.alerter))
        found = reader.read({position_of(code): Gap(start, end)}, frozenset({code.encode()}), threading.Event())
        assert offsets([one for batch in found for one in batch]) == [start, start + 2, start + 4]


# -- full queues -------------------------------------------------------------------------------------------------------


@pytest.fixture
def idle(alerts: Alerts) -> LogConsumer:
    """One without a Kafka, whose thread is the test's."""
    return LogConsumer("m", lambda: None, decode_price, alerts.alerter)  # type: ignore[arg-type, return-value]


def attach(consumer: LogConsumer, subscription: Subscription) -> list[list[int]]:
    """What `attach` hands over as queued before, by offsets; done in this thread."""
    handed: list[list[int]] = []

    def ask() -> None:
        attached = consumer.attach(subscription, {}, 10)
        assert attached is not None
        handed.extend(offsets(batch) for batch in attached.before)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: consumer._mailbox, saying="the letter")
    consumer._consumer = object()  # type: ignore[assignment]
    consumer.step(0)
    asking.join(10)
    return handed


def test_catch_up_halts_each_partition_at_its_first_event_not_queued(idle: LogConsumer) -> None:
    full = wants("a", limit=3)
    idle._queue(full, [item(1), item(2), item(3), item(4), item(70, partition=1), item(5)])
    idle._queue(full, [item(6), item(71, partition=1), item(90, partition=2)])
    assert offsets(queued(full)) == [1, 2, 3]
    assert full.halted == {(TOPIC, 0): 4, (TOPIC, 1): 70, (TOPIC, 2): 90}
    assert full.pressure == 1
    assert not full.whole


def test_whoever_sees_the_halt_finds_in_the_queue_all_that_came_before_it(
    idle: LogConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = wants("a", limit=3)
    at_the_halt: list[list[int]] = []
    halt = LogConsumer._halt

    def look(subscription: Subscription, items: list[Item]) -> None:
        at_the_halt.append(offsets(queued(subscription)))
        halt(subscription, items)

    monkeypatch.setattr(LogConsumer, "_halt", staticmethod(look))
    idle._queue(full, [item(n) for n in range(1, 6)])
    assert at_the_halt == [[1, 2, 3]]


def test_what_was_queued_before_a_halt_is_handed_over_before_it_is_lifted(idle: LogConsumer) -> None:
    """The queue filled and halted after its portfolio had last looked: what is in it comes first."""
    full = wants("a", limit=3)
    idle._queue(full, [item(1), item(2)])
    idle._queue(full, [item(3), item(4)])
    assert full.halted == {(TOPIC, 0): 4}
    assert attach(idle, full) == [[1, 2], [3]]
    assert full.halted is None
    assert full.pop() is None


def test_drop_lets_the_newest_go_and_counts_them(idle: LogConsumer) -> None:
    full = wants("a", policy="drop", limit=10)
    idle._queue(full, [item(n) for n in range(20)])
    assert offsets(queued(full)) == list(range(9))  # 95 % of the queue
    assert full.dropped == 11
    assert full.halted is None


def test_conflate_keeps_the_newest_of_each_code_for_when_there_is_room(idle: LogConsumer) -> None:
    full = wants("600519.SH", "000001.SZ", policy="conflate", limit=10)
    idle.interest.add(full)
    idle._queue(full, [item(n, code) for n, code in enumerate(["600519.SH", "000001.SZ"] * 10)])
    idle._queue(full, [item(20, "600519.SH")])
    assert offsets(queued(full)) == list(range(9))
    idle._flush_tails()
    assert not full.whole  # there is no room yet
    while (batch := full.pop()) is not None:
        full.took(len(batch))
    idle._flush_tails()
    assert offsets(queued(full)) == [19, 20]
    assert full.whole


def test_a_conflated_tail_is_handed_over_with_the_queue(idle: LogConsumer) -> None:
    full = wants("600519.SH", policy="conflate", limit=10)
    idle._queue(full, [item(n) for n in range(20)])
    assert attach(idle, full) == [list(range(9)), [19]]
    assert full.whole


def test_what_one_policy_has_conflated_comes_before_what_the_next_one_halts_at(idle: LogConsumer) -> None:
    full = wants("600519.SH", policy="conflate", limit=10)
    idle._queue(full, [item(n) for n in range(20)])
    full.policy = "catch_up"
    idle._queue(full, [item(20), item(21)])
    assert offsets(queued(full)) == [*range(9), 19]
    assert full.halted == {(TOPIC, 0): 20}
    assert not full.tail


def test_asked_for_other_codes_it_keeps_what_is_queued_and_where_it_was_halted_but_of_other_partitions(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    a, b, c = new_code(1), new_code(2), new_code(3)
    consumer = log.consumer(alerts)
    subscription = wants(a, b, limit=10)
    consumer.attach(subscription, log.ends(a, b), 10)
    start = log.end(position_of(a))
    for number in range(3):
        log.ticks(a, range(1))
        log.ticks(b, range(1))
        eventually(lambda n=number: len(queued(subscription)) == 2 * (n + 1), saying="one of each")  # type: ignore[misc]
    log.ticks(a, range(20))
    eventually(lambda: subscription.halted, saying="the halt")
    halted = subscription.halted
    end = log.end(position_of(c))
    changed = consumer.change(subscription, frozenset({a.encode(), c.encode()}), log.ends(a, c), 10)
    assert changed is not None
    assert changed.joins[position_of(c)] == end
    assert changed.halted == subscription.halted == halted
    assert {one.cause.partition for one in queued(subscription)} == {1}
    assert offsets(queued(subscription))[:3] == [start, start + 1, start + 2]
    assert subscription.queued == len(queued(subscription))
    assert set(consumer.positions) == {position_of(a), position_of(c)}
    assert consumer.interest.keys() == sorted([a, c])


def test_asked_for_other_codes_it_halts_where_it_is_to_read_again_and_lets_go_of_what_is_queued_of_that(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    a, b, c = new_code(1), new_code(2), new_code(3)
    consumer = log.consumer(alerts)
    subscription = wants(a, b, c, limit=10)
    consumer.attach(subscription, log.ends(a, b, c), 10)
    start = log.end(position_of(a))
    for code in (a, b, a):
        log.ticks(code, range(1))
    eventually(lambda: len(queued(subscription)) == 3, saying="three of them")
    shared = {position_of(a): start, position_of(c): log.end(position_of(c))}
    changed = consumer.change(subscription, subscription.keys, log.ends(a, b, c), 10, shared)
    assert changed is not None
    assert changed.halted == subscription.halted == {position_of(a): start}, "of the third nothing waits"
    assert {one.cause.partition for one in queued(subscription)} == {2}
    assert subscription.queued == 1


class Patience:
    """In the place of the event that says to stop: counts how often somebody waits for it."""

    def __init__(self) -> None:
        self.waits = 0

    def wait(self, timeout: float) -> None:
        self.waits += 1
        threading.Event().wait(timeout)


class Told:
    """A message as Kafka's client hands it over."""

    def __init__(self, number: int) -> None:
        self.number = number

    def key(self) -> bytes:
        return b"600519.SH"

    def value(self) -> bytes:
        return encode(tick(self.number))

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.number


@pytest.mark.parametrize("policy", ["drop", "conflate"])
def test_in_a_backlog_nobody_waits_twice_for_one_that_does_not_take_what_overflowed(
    idle: LogConsumer, policy: str
) -> None:
    slow = wants("600519.SH", policy=policy, limit=100)
    idle.interest.add(slow)
    idle.stopping = patience = Patience()  # type: ignore[assignment]
    backlog = [Told(number) for number in range(500)]
    idle._route(backlog)  # type: ignore[arg-type]
    waited = patience.waits
    assert waited > 0
    for _ in range(5):
        idle._route(backlog)  # type: ignore[arg-type]
    assert patience.waits == waited
    # It has kept up since: it is given the time to do so again.
    while (batch := slow.pop()) is not None:
        slow.took(len(batch))
    idle._flush_tails()
    idle._route(backlog)  # type: ignore[arg-type]
    assert patience.waits > waited


def test_feedback_is_never_too_much(idle: LogConsumer) -> None:
    feedback = wants("p1", policy=None, limit=0)
    idle._queue(feedback, [item(n) for n in range(5000)])
    assert len(queued(feedback)) == 5000
    assert feedback.halted is None


def test_a_filling_queue_is_said_at_most_once_in_its_interval(idle: LogConsumer, alerts: Alerts) -> None:
    full = wants("a", limit=100)
    for n in range(5):
        idle._queue(full, [item(n)] * 14)  # 70 % with the fifth
    for n in range(20):
        idle._queue(full, [item(n)])
    assert [alert.severity for alert in alerts.raised] == ["warning"]
    for n in range(50):
        idle._queue(full, [item(n)])
    assert [alert.severity for alert in alerts.raised] == ["warning", "critical"]
    assert alerts.types == ["queue_full"] * 2
