from __future__ import annotations

from nodes.subscription import Subscription
from tests.nodes.support import item, subscription


def test_what_is_queued_is_counted_until_it_is_taken() -> None:
    queue = subscription()
    queue.extend([item(1), item(2)])
    assert queue.queued == 2
    batch = queue.pop()
    assert batch == [item(1), item(2)]
    assert queue.queued == 2  # still being applied
    queue.took(2)
    assert queue.queued == 0
    assert queue.pop() is None


def test_the_tail_keeps_the_newest_of_each_code_in_the_order_in_which_those_came() -> None:
    queue = subscription("conflate")
    queue.conflate([item(10, "600519.SH"), item(20, "000001.SZ"), item(50, "600519.SH")])
    assert not queue.whole
    queue.flush()
    assert queue.whole
    assert queue.pop() == [item(20, "000001.SZ"), item(50, "600519.SH")]
    assert queue.put == 2


def test_the_tail_is_in_the_queue_before_it_is_nowhere_else() -> None:
    """Its processor asks whether it is whole and then looks at the queue: in between it must not miss the tail."""
    queue = subscription("conflate")
    queue.wake = lambda: seen.append((queue.whole, len(queue.batches)))
    seen: list[tuple[bool, int]] = []
    queue.conflate([item(10)])
    queue.flush()
    assert seen == [(False, 1)]
    assert queue.whole


def test_what_is_kept_of_a_queue_is_what_other_partitions_do_not_have() -> None:
    queue = subscription()
    queue.extend([item(1), item(2, partition=1)])
    queue.extend([item(3, partition=1)])
    queue.keep({("ginkgo.live.market.data", 0)})
    assert queue.pop() == [item(1)]
    assert queue.pop() is None
    queue.took(1)
    assert queue.queued == 0


def test_flushing_nothing_queues_nothing() -> None:
    queue = subscription("conflate")
    queue.flush()
    assert queue.pop() is None


def test_a_halted_one_is_not_whole() -> None:
    queue = subscription()
    queue.halted = {("t", 0): 5}
    assert not queue.whole


def test_a_queue_has_room_for_what_raises_no_alarm() -> None:
    subscription = Subscription("p1", frozenset(), "catch_up", 10, lambda: None)
    assert subscription.has_room(6)
    assert not subscription.has_room(7)


def test_waiting_for_room_is_of_no_use_once_halted_and_feedback_needs_none() -> None:
    halted = Subscription("p1", frozenset(), "catch_up", 10, lambda: None)
    halted.halted = {("t", 0): 5}
    assert halted.has_room(1000)
    assert Subscription("p1", frozenset(), None, 0, lambda: None).has_room(1000)


def test_parts_are_in_order_and_each_fits_an_empty_queue() -> None:
    subscription = Subscription("p1", frozenset(), "catch_up", 10, lambda: None)
    parts = subscription.parts(list(range(13)))  # type: ignore[arg-type]
    assert parts == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12]]
    assert all(subscription.has_room(len(part)) for part in parts)
