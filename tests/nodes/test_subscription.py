from __future__ import annotations

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


def test_flushing_nothing_queues_nothing() -> None:
    queue = subscription("conflate")
    queue.flush()
    assert queue.pop() is None


def test_a_halted_one_is_not_whole() -> None:
    queue = subscription()
    queue.halted = {("t", 0): 5}
    assert not queue.whole
