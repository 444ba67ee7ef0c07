from __future__ import annotations

import msgspec
import pytest

from nodes.runtime import Poisoned, Runtime, Unloadable, key_of, restore
from nodes.subscription import Item
from portfolios.checkpoints import Loaded, Save
from portfolios.kernel.events import Cause, Feedback
from portfolios.kernel.orders import Order
from portfolios.kernel.portfolio import FeedbackGap
from tests.nodes.support import CODE, RULES, TOPIC, answer, config, fill, item, loaded

FEEDBACK = "ginkgo.live.orders.feedback"


def fresh(**parameters: object) -> Runtime:
    run, refused = restore(loaded(config=config(**parameters)), RULES)  # type: ignore[arg-type]
    assert refused == ""
    return run


def seen(run: Runtime) -> int:
    state: dict[str, dict[str, list[dict[str, int]]]] = msgspec.json.decode(run.portfolio.snapshot())
    return state["components"]["strategy"][2]["count"]


def told(event: Feedback, offset: int) -> Item:
    return Item(event, Cause(FEEDBACK, 0, offset))


def as_saved(save: Save, **changes: object) -> Loaded:
    """What the next owner loads of a checkpoint."""
    return loaded(
        save.portfolio_id, state=save.state, pseq=save.pseq, offsets=save.offsets, topic_ids=save.topic_ids,
        checkpoint_version=save.config_version, incarnation=save.incarnation, **changes,
    )  # fmt: skip


# -- applying ----------------------------------------------------------------------------------------------------------


def test_a_batch_moves_the_next_offset_of_each_of_its_partitions() -> None:
    run = fresh(codes=("600519.SH", "000001.SZ"))
    run.apply([item(4, partition=1), item(9, "000001.SZ", partition=2), item(5, partition=1)])
    assert run.offsets == {TOPIC: {1: 6, 2: 10}}
    assert (run.applied, seen(run)) == (3, 3)


def test_what_lies_below_the_next_offset_is_decided_and_ignored() -> None:
    run = fresh()
    run.apply([item(4), item(5)])
    run.apply([item(4), item(5), item(6), item(6)])
    assert seen(run) == 3
    assert run.offsets == {TOPIC: {0: 7}}


def test_offsets_never_go_backwards_but_where_the_log_begins_anew() -> None:
    run = fresh()
    run.advance({(TOPIC, 0): 50})
    run.advance({(TOPIC, 0): 20})
    assert run.next_offset((TOPIC, 0)) == 50
    run.rewind({(TOPIC, 0): 3})
    assert run.next_offset((TOPIC, 0)) == 3
    run.apply([item(3)])
    assert seen(run) == 1


def test_intents_wait_for_the_checkpoint_that_contains_them() -> None:
    run = fresh(every=2)
    run.apply([item(0), item(1)])
    save, intents = run.take_save()
    (order,) = intents
    assert isinstance(order, Order)
    assert order.cause == f"{TOPIC}:0:1:0"
    assert order.order_id.encode() in save.state
    assert run.take_save()[1] == ()


def test_what_raises_is_poisoned_and_leaves_the_offsets_alone() -> None:
    run = fresh(fails_at=10.25)
    with pytest.raises(Poisoned) as caught:
        run.apply([item(24), item(25), item(26)])
    assert caught.value.item == item(25)
    assert run.offsets == {}


def test_a_tick_to_be_skipped_is_passed_over_and_its_offset_with_it() -> None:
    run = fresh(fails_at=10.25)
    run.apply([item(24), item(25), item(26)], frozenset({key_of(item(25))}))
    assert seen(run) == 2
    assert run.offsets == {TOPIC: {0: 27}}


def test_a_save_is_a_moment_and_does_not_follow_what_comes_after() -> None:
    run = fresh()
    run.apply([item(4)])
    save, _ = run.take_save()
    run.apply([item(5)])
    assert save.offsets == {TOPIC: {0: 5}}
    assert run.dirty


def test_forgetting_keeps_only_what_is_named() -> None:
    run = fresh()
    run.advance({(TOPIC, 0): 5, (TOPIC, 1): 6, (FEEDBACK, 3): 7})
    run.topic_ids = {TOPIC: "a", FEEDBACK: "b"}
    run.forget_offsets({(TOPIC, 1), (FEEDBACK, 3)})
    assert run.take_save()[0].offsets == {TOPIC: {1: 6}, FEEDBACK: {3: 7}}
    assert run.topic_ids == {TOPIC: "a", FEEDBACK: "b"}
    run.forget_offsets({(FEEDBACK, 3)})
    assert run.topic_ids == {FEEDBACK: "b"}, "where a later topic of that name is read says nothing of this one"


# -- feedback ----------------------------------------------------------------------------------------------------------


def with_an_order() -> tuple[Runtime, Order]:
    run = fresh(every=1)
    run.apply([item(0)])
    order = run.take_save()[1][0]
    assert isinstance(order, Order)
    return run, order


def test_a_fill_is_booked_once_with_exact_money() -> None:
    run, order = with_an_order()
    event = fill(1, order.order_id, run.portfolio_id, price=10.01)
    run.apply([told(event, 0)])
    run.apply([told(event, 1)])  # the engine says it again, word for word
    (row,) = run.take_save()[0].ledger
    assert (str(row.price), str(row.fees), str(row.cash_change)) == ("10.0100", "5.0000", "-1006.0000")
    assert run.offsets[FEEDBACK] == {0: 2}


def test_an_acknowledgement_is_no_ledger_row() -> None:
    run, order = with_an_order()
    run.apply([told(answer(1, order.order_id, run.portfolio_id), 0)])
    assert run.take_save()[0].ledger == ()
    assert run.portfolio.unanswered() == []


def test_a_gap_in_the_feedback_changes_nothing() -> None:
    run, order = with_an_order()
    before = run.portfolio.snapshot()
    with pytest.raises(FeedbackGap):
        run.apply([told(fill(3, order.order_id, run.portfolio_id), 0)])
    assert run.portfolio.snapshot() == before
    assert run.take_save()[0].ledger == ()
    assert FEEDBACK not in run.offsets


def test_feedback_that_cannot_be_booked_is_poisoned() -> None:
    run, order = with_an_order()
    broken = msgspec.structs.replace(fill(1, order.order_id, run.portfolio_id), filled_amount=1e300)
    with pytest.raises(Poisoned):
        run.apply([told(broken, 0)])


def test_feedback_to_be_skipped_wherever_it_comes_from_does_not_hold_up_what_follows() -> None:
    run, order = with_an_order()
    broken = answer(1, order.order_id, run.portfolio_id, "order_filled", fill_id="f")  # a fill without its figures
    with pytest.raises(Poisoned) as caught:
        run.apply([told(broken, 0)])
    skip = frozenset({key_of(caught.value.item)})
    run.apply([Item(broken, Cause("ginkgo.outbox", 0, 1))], skip)
    run.apply([told(fill(2, order.order_id, run.portfolio_id), 1)], skip)
    assert run.portfolio.pseq == 2
    assert [row.pseq for row in run.take_save()[0].ledger] == [2]


# -- restoring ---------------------------------------------------------------------------------------------------------


def test_restored_from_a_checkpoint_it_goes_on_byte_for_byte() -> None:
    one = fresh(every=3)
    one.apply([item(n) for n in range(10)])
    save, _ = one.take_save()
    other, _ = restore(as_saved(save, config=config(every=3)), RULES)
    for run in (one, other):
        run.apply([item(n) for n in range(10, 20)])
    assert one.take_save()[0].state == other.take_save()[0].state


def test_a_newer_configuration_takes_over_the_state() -> None:
    one = fresh()
    one.apply([item(n) for n in range(5)])
    save, _ = one.take_save()
    new = config(codes=(CODE, "000001.SZ"))
    run, refused = restore(as_saved(save, version=2, config=new, checkpoint_config=config()), RULES)
    assert refused == ""
    assert run.config_version == 2
    assert run.keys == {b"600519.SH", b"000001.SZ"}
    assert seen(run) == 5


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ({"strategy": {"name": "NoSuchStrategy"}}, "NoSuchStrategy"),
        (config(cannot_start=True), "made to fail"),
    ],
)
def test_a_newer_configuration_that_does_not_load_leaves_the_checkpoints_own_in_force(
    new: dict[str, object], why: str
) -> None:
    save, _ = fresh().take_save()
    run, refused = restore(as_saved(save, version=2, config=new, checkpoint_config=config()), RULES)
    assert run.config_version == 1
    assert "version 2" in refused
    assert why in refused


@pytest.mark.parametrize("broken", [{}, config(cannot_start=True)])
def test_a_first_configuration_that_does_not_load_is_unloadable(broken: dict[str, object]) -> None:
    with pytest.raises(Unloadable):
        restore(loaded(config=broken), RULES)


def test_neither_configuration_is_unloadable_and_says_both_reasons() -> None:
    save, _ = fresh().take_save()
    bad = config(cannot_start=True)
    with pytest.raises(Unloadable, match=r"version 2.*version 1"):
        restore(as_saved(save, version=2, config={}, checkpoint_config=bad), RULES)


def test_a_state_that_is_none_is_unloadable() -> None:
    with pytest.raises(Unloadable, match="version 1"):
        restore(loaded(state=b'{"v": 99}', version=1, checkpoint_version=1), RULES)


def test_the_incarnation_of_one_that_never_ran_is_the_checkpoints() -> None:
    run, _ = restore(loaded(incarnation=3), RULES)
    assert run.portfolio.incarnation == 3


def test_reconfigured_with_what_does_not_load_it_stays_as_it_is() -> None:
    run = fresh()
    run.apply([item(1)])
    with pytest.raises(Unloadable, match=r"version 2.*made to fail"):
        run.reconfigure(loaded(run.portfolio_id, version=2, config=config(cannot_start=True)))
    assert run.config_version == 1
    assert seen(run) == 1


def test_reconfigured_it_has_something_to_save() -> None:
    run = fresh()
    run.take_save()
    run.reconfigure(loaded(run.portfolio_id, version=2, config=config(every=5)))
    assert run.dirty
    assert run.take_save()[0].config_version == 2
