"""One portfolio's life, step by step in the test's thread, on a real log and a real database."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.contrib.auth.models import User

from market import bus, topic_admin, topics
from market.bus import KafkaUnavailable
from market.messages import Feedback, decode_feedback, decode_order, encode
from nodes import ending, joining, reload
from nodes.checkpointer import Checkpointer, Request
from nodes.context import Context, Limits, TopicCatalogue
from nodes.ending import Discarded, Interrupted
from nodes.lease import Lease
from nodes.processor import Processor
from nodes.readers import Readers
from nodes.runtime import Runtime, Unloadable
from nodes.sender import Sender
from nodes.subscription import Subscription
from portfolios import checkpoints, lifecycle, services
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.models import Assignment, Checkpoint, Portfolio, Revision
from tests.nodes.log import Log, position_of
from tests.nodes.support import RULES, Alerts, KeepingProducer, answer, config, fill, tick
from tests.support import eventually
from tests.support.components import ONE_LOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
NewCode = Callable[..., str]


class Scene:
    """A node without its threads but for the log consumers' and the checkpointer's; queues of ten events."""

    def __init__(self, log: Log, alerts: Alerts) -> None:
        self.log, self.alerts = log, alerts
        self.producer = KeepingProducer()
        lease = Lease(3600)
        lease.renew(lease.now())
        sender = Sender(self.producer, lease)  # type: ignore[arg-type]
        self.checkpointer = Checkpointer("c", sender, alerts.alerter)
        self.checkpointer.start()
        self.context = Context(
            node_id="node-t", limits=Limits(10, 3600, 3600, 30, answer_wait=0.1), market=log.consumer(alerts),
            feedback=log.consumer(alerts, decode_feedback), checkpointer=self.checkpointer, sender=sender,
            lease=lease, alerter=alerts.alerter, catalogue=TopicCatalogue(topic_admin.catalogue),
            readers=Readers(lambda: bus.make_consumer("test.join", None, **{"enable.partition.eof": True})),
            trading_days=lambda _market: (), partition_pruning=True,
        )  # fmt: skip
        self.user = User.objects.create_user(str(uuid4()))

    def portfolio(self, code: str, desired: str = "running", **parameters: Any) -> Processor:
        """Owned by this node at epoch 1, and not yet begun."""
        wanted = config((code,), **parameters)
        made = Portfolio.objects.create(
            name="p", owner=self.user, initial_cash=10**6, config=wanted, desired_state=desired
        )
        Revision.objects.create(portfolio=made, version=1, config=wanted)
        Assignment.objects.create(portfolio=made, node_id="node-t", epoch=1)
        Checkpoint.objects.create(portfolio=made, epoch=1)
        return Processor(self.context, made.id, 1)

    def begin(self, processor: Processor) -> tuple[Runtime, Subscription, Subscription]:
        processor._start()
        assert processor.runtime and processor._market and processor._feedback
        return processor.runtime, processor._market, processor._feedback


@pytest.fixture
def scene(log: Log, alerts: Alerts) -> Iterator[Scene]:
    scene = Scene(log, alerts)
    yield scene
    scene.checkpointer.request_stop()
    scene.checkpointer.join(10)


def in_order(processor: Processor, code: str, start: int, numbers: range) -> bytes:
    """The state after these ticks, each once, as they stand in the log from `start` on."""
    kernel = Kernel(processor.portfolio_id, parse(config((code,)), "cn"), RULES, 10**10)
    for at, number in enumerate(numbers):
        kernel.apply(tick(number, code), Cause(*position_of(code), start + at))
    return kernel.snapshot()


def count(run: Runtime) -> int:
    state: dict[str, Any] = json.loads(run.portfolio.snapshot())
    return int(state["components"]["strategy"][2]["count"])


def drain(processor: Processor, run: Runtime, market: Subscription, feedback: Subscription) -> None:
    while processor.step(run, market, feedback):
        pass


# -- overload ----------------------------------------------------------------------------------------------------------


def test_what_was_queued_before_a_halt_is_applied_before_what_was_left_in_the_log(
    scene: Scene, new_code: NewCode
) -> None:
    """The queue filled, and halted, after the portfolio had found it empty and before it looked for a halt."""
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    scene.log.ticks(code, range(40))
    eventually(lambda: market.halted, saying="the halt")
    assert market.batches
    joining.catch_up(processor, run, scene.context.market, market, processor.positions, None)
    drain(processor, run, market, feedback)
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(40))
    assert run.next_offset(position_of(code)) == start + 40


@pytest.mark.parametrize("queue_is_empty", [False, True])
def test_asked_to_stop_in_the_middle_of_catching_up_it_touches_the_queue_no_more(
    scene: Scene, new_code: NewCode, queue_is_empty: bool
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    scene.log.ticks(code, range(40))
    eventually(lambda: market.halted, saying="the halt")
    if queue_is_empty:
        drain(processor, run, market, feedback)
    processor.end("give_back", time.monotonic() + 10)
    with pytest.raises(Interrupted):
        joining.catch_up(processor, run, scene.context.market, market, processor.positions, None)
    processor._leave()
    processor.work()
    assert processor.given_back
    loaded = checkpoints.load(processor.portfolio_id)
    assert loaded is not None
    assert (loaded.node_id, loaded.epoch) == ("", 2)
    assert loaded.offsets[position_of(code)[0]][position_of(code)[1]] == start


def test_while_it_catches_up_it_is_saved_now_and_then_and_never_past_what_it_has_applied(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.context = replace(scene.context, limits=replace(scene.context.limits, checkpoint_interval=0.0))
    code = new_code()
    processor = scene.portfolio(code)
    run, market, _ = scene.begin(processor)
    start = scene.log.end(position_of(code))
    scene.log.ticks(code, range(40))
    eventually(lambda: market.halted, saying="the halt")
    saved: list[tuple[int, int]] = []
    take = run.take_save

    def look() -> Any:
        taken = take()
        saved.append((count(run), (run.next_offset(position_of(code)) or 0) - start))
        return taken

    monkeypatch.setattr(run, "take_save", look)
    joining.catch_up(processor, run, scene.context.market, market, processor.positions, None)
    assert len(saved) > 2
    assert all(applied == offset for applied, offset in saved)


# -- feedback and its price --------------------------------------------------------------------------------------------


def test_a_fill_waits_for_the_price_at_which_it_traded(scene: Scene, new_code: NewCode) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    topic, partition = position_of(code)
    start = scene.log.end((topic, partition))
    seen = f"{topic}:{partition}:{start}"
    told = [
        answer(1, "o", processor.portfolio_id),
        replace_seen(fill(2, "o", processor.portfolio_id), seen),
        answer(3, "o", processor.portfolio_id),
    ]
    for each in told:
        scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, encode(each))
    eventually(lambda: feedback.put == 3, saying="the feedback")
    drain(processor, run, market, feedback)
    assert (run.portfolio.pseq, count(run)) == (1, 0)
    scene.log.ticks(code, range(1))
    eventually(lambda: market.put == 1, saying="the price")
    drain(processor, run, market, feedback)
    assert (run.portfolio.pseq, count(run)) == (3, 1)


def test_a_fill_whose_price_does_not_come_is_booked_after_a_moment(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.holding.PATIENCE", 0.2)
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    topic, partition = position_of(code)
    lost = replace_seen(fill(1, "o", processor.portfolio_id), f"{topic}:{partition}:{10**9}")
    scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, encode(lost))
    eventually(lambda: feedback.put == 1, saying="the feedback")
    assert not processor.step(run, market, feedback)
    eventually(lambda: processor.step(run, market, feedback), saying="the end of patience")
    assert run.portfolio.pseq == 1


def test_a_successor_too_sees_the_price_before_the_fill(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, *_ = scene.begin(processor)
    processor.save(wait=True)
    processor._leave()
    topic, partition = position_of(code)
    start = scene.log.end((topic, partition))
    scene.log.ticks(code, range(1))
    for told in (
        answer(1, "o", processor.portfolio_id),
        replace_seen(fill(2, "o", processor.portfolio_id), f"{topic}:{partition}:{start}"),
        answer(3, "o", processor.portfolio_id),
    ):
        scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, encode(told))
    applied: list[object] = []
    apply = Kernel.apply

    def watched(self: Kernel, event: Any, cause: Cause) -> Any:
        applied.append(getattr(event, "pseq", "price"))
        return apply(self, event, cause)

    monkeypatch.setattr(Kernel, "apply", watched)
    successor = Processor(scene.context, processor.portfolio_id, 1)
    run, market, feedback = scene.begin(successor)
    drain(successor, run, market, feedback)
    assert applied == [1, "price", 2, 3]
    place = scene.context.feedback_position(processor.portfolio_id)
    assert run.next_offset(place) == scene.log.end(place)
    assert feedback.queued == market.queued == 0


def test_what_is_held_back_at_the_start_is_not_past_in_the_checkpoint(scene: Scene, new_code: NewCode) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    scene.begin(processor)
    processor._leave()
    topic, partition = position_of(code)
    place = scene.context.feedback_position(processor.portfolio_id)
    first = scene.log.end(place)
    early = replace_seen(fill(1, "o", processor.portfolio_id), f"{topic}:{partition}:{10**9}")
    scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, encode(early))
    scene.begin(Processor(scene.context, processor.portfolio_id, 1))
    saved = Checkpoint.objects.get(portfolio_id=processor.portfolio_id)
    assert (saved.pseq, saved.offsets[place[0]][str(place[1])]) == (0, first)


@pytest.mark.parametrize("seen", ["", "nowhere", "a:b:c", "another.topic:0:7"])
def test_what_says_nothing_of_its_prices_waits_for_none(scene: Scene, new_code: NewCode, seen: str) -> None:
    processor = scene.portfolio(new_code())
    run, market, feedback = scene.begin(processor)
    told = replace_seen(answer(1, "o", processor.portfolio_id), seen)
    scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, encode(told))
    eventually(lambda: feedback.put == 1, saying="the feedback")
    assert processor.step(run, market, feedback)
    assert run.portfolio.pseq == 1


@pytest.mark.parametrize("waits", ["in the queue", "for its price"])
def test_answers_to_others_are_passed_over_and_its_own_are_not_before_they_are_applied(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    scene.context = replace(scene.context, limits=replace(scene.context.limits, checkpoint_interval=0.0))
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    place = scene.context.feedback_position(processor.portfolio_id)
    other = next(o for o in (str(uuid4()) for _ in range(1000)) if scene.context.feedback_position(o) == place)

    def tell(told: Feedback) -> int:
        """The end of the log, which the consumer has reached."""
        scene.log.raw(topics.ORDERS_FEEDBACK, told.portfolio_id, encode(told))
        end = scene.log.end(place)
        eventually(lambda: scene.context.feedback.positions[place] == end, saying="all of it routed")
        return end

    for number in range(4):
        others = tell(answer(number + 1, "o", other))
    processor.timers(run, market)
    assert run.next_offset(place) == others
    seen = f"{topics.market_topic(code)}:{position_of(code)[1]}:{10**9}" if waits == "for its price" else ""
    tell(replace_seen(answer(1, "o", processor.portfolio_id), seen))
    end = tell(answer(5, "o", other))
    if seen:
        assert not processor.step(run, market, feedback)
        assert processor.holding
    processor.timers(run, market)
    assert run.next_offset(place) == others
    monkeypatch.setattr("nodes.holding.PATIENCE", 0.0)
    drain(processor, run, market, feedback)
    processor.timers(run, market)
    assert (run.portfolio.pseq, run.next_offset(place)) == (1, end)


def read_on(processor: Processor, run: Runtime, market: Subscription, feedback: Subscription) -> None:
    """As its thread does: what is queued, then what a halt left in the log, until there is neither."""
    drain(processor, run, market, feedback)
    while market.halted is not None:
        joining.catch_up(processor, run, processor.context.market, market, processor.positions, None)
        drain(processor, run, market, feedback)


def hurried(scene: Scene, processor: Processor, **limits: float) -> None:
    processor.context = replace(scene.context, limits=replace(scene.context.limits, **limits))  # type: ignore[arg-type]


def replace_seen(feedback: Feedback, seen: str) -> Feedback:
    return msgspec.structs.replace(feedback, seen=seen)


# -- reload ------------------------------------------------------------------------------------------------------------


def reconfigure(processor: Processor, wanted: dict[str, Any], version: int = 2) -> None:
    Portfolio.objects.filter(id=processor.portfolio_id).update(version=version, config=wanted)
    Revision.objects.create(portfolio_id=processor.portfolio_id, version=version, config=wanted)


def test_what_comes_during_a_reload_is_applied_after_it_in_order(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    scene.log.ticks(code, range(5))
    eventually(lambda: market.put == 5, saying="what came before")
    stop = ending.say_stop

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(code, range(5, 9))
        eventually(lambda: market.queued == 4, saying="the buffer")

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    reconfigure(processor, config((code,), {"min_signal_interval": 3}))
    reload.reload(processor, run, market, feedback)
    assert run.config_version == 2
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(9))


@pytest.mark.parametrize("policy", ["drop", "conflate"])
def test_no_policy_loses_any_of_what_comes_during_a_reload(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    reconfigure(processor, config((code,), {"backpressure": policy}), version=2)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    stop = ending.say_stop

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(code, range(40))
        scene.log.ticks(code, range(40, 45))
        eventually(lambda: market.queued >= 9, saying="a full buffer")
        place = position_of(code)
        eventually(lambda: scene.context.market.positions[place] == start + 45, saying="all of it routed")

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    reconfigure(processor, config((code,), {"backpressure": policy, "min_signal_interval": 3}), version=3)
    reload.reload(processor, run, market, feedback)
    assert market.policy == policy
    read_on(processor, run, market, feedback)
    assert processor.drops == 0
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(45))


def test_a_reload_takes_over_what_becomes_of_a_full_queue(scene: Scene, new_code: NewCode) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    reconfigure(processor, config((code,), {"backpressure": "drop"}), version=2)
    run, market, feedback = scene.begin(processor)
    scene.log.ticks(code, range(20))
    eventually(lambda: market.dropped == 11, saying="what is dropped")
    reconfigure(processor, config((code,), {"backpressure": "catch_up"}), version=3)
    reload.reload(processor, run, market, feedback)
    scene.log.ticks(code, range(20, 50))
    eventually(lambda: market.halted, saying="the halt")
    read_on(processor, run, market, feedback)
    assert (count(run), market.dropped) == (9 + 30, 11)
    reconfigure(processor, config((code,), {"backpressure": "drop"}), version=4)
    reload.reload(processor, run, market, feedback)
    scene.log.ticks(code, range(50, 70))
    eventually(lambda: market.dropped == 22, saying="what is dropped again")


def test_a_reload_is_over_with_its_buffer_however_much_comes_meanwhile(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    stop, step = ending.say_stop, processor.step
    numbers = iter(range(60))
    steps = timers = 0

    def one_more() -> None:
        before, number = market.put, next(numbers)
        scene.log.ticks(code, range(number, number + 1))
        eventually(lambda: market.put > before, saying="one more")

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        for _ in range(4):
            one_more()

    def as_fast_as_they_are_applied(*args: Any) -> bool:
        nonlocal steps
        steps += 1
        one_more()
        return step(*args)

    def look_up(*_: Any) -> None:
        nonlocal timers
        timers += 1

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    monkeypatch.setattr(processor, "step", as_fast_as_they_are_applied)
    monkeypatch.setattr(processor, "timers", look_up)
    reconfigure(processor, config((code,)))
    reload.reload(processor, run, market, feedback)
    assert Portfolio.objects.get(id=processor.portfolio_id).status == "running"
    assert 1 <= steps <= 4
    assert timers == steps
    drain_with = count(run)
    monkeypatch.setattr(processor, "step", step)
    read_on(processor, run, market, feedback)
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(count(run)))
    assert count(run) == drain_with + steps


def test_what_a_buffer_left_in_the_log_is_read_after_the_reload_for_other_codes_too(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, added = new_code(2), new_code(5)
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    stop = ending.say_stop

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(code, range(40))
        scene.log.ticks(added, range(7))  # before it joins
        eventually(lambda: market.halted, saying="the halt")

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    reconfigure(processor, config((code, added)))
    reload.reload(processor, run, market, feedback)
    assert count(run) <= 10
    assert Portfolio.objects.get(id=processor.portfolio_id).status == "running"
    scene.log.ticks(added, range(7, 10))
    read_on(processor, run, market, feedback)
    eventually(lambda: read_on(processor, run, market, feedback) or count(run) == 43, saying="all of them")
    assert run.next_offset(position_of(code)) == scene.log.end(position_of(code))
    assert run.next_offset(position_of(added)) == scene.log.end(position_of(added))


def test_what_is_not_replayed_by_the_deadline_is_applied_as_ever(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    stop = ending.say_stop

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(code, range(8))
        eventually(lambda: market.queued == 8, saying="the buffer")
        eventually(lambda: time.monotonic() > begun + 0.5, saying="the deadline")

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    hurried(scene, processor, stop_timeout=0.5)
    reconfigure(processor, config((code,)))
    begun = time.monotonic()
    reload.reload(processor, run, market, feedback)
    assert count(run) == 0
    assert Portfolio.objects.get(id=processor.portfolio_id).status == "running"
    read_on(processor, run, market, feedback)
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(8))


def test_a_queue_that_does_not_empty_in_time_is_left_to_the_checkpoint(scene: Scene, new_code: NewCode) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    scene.log.ticks(code, range(5))
    eventually(lambda: market.put == 5, saying="a queue")
    reconfigure(processor, config((code,)))
    hurried(scene, processor, stop_timeout=-1.0)
    with pytest.raises(reload.DrainTimeout):
        reload.reload(processor, run, market, feedback)
    processor._leave()
    run, market, feedback = scene.begin(processor)  # as its thread does
    drain(processor, run, market, feedback)
    assert run.config_version == 2
    assert count(run) == 5


@pytest.mark.parametrize("forced", [False, True])
def test_the_statuses_of_a_reload_are_told_in_order(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    told: list[str] = []
    written: list[str] = []

    def tell(portfolio_id: str, status: str) -> None:
        told.append(str(status))
        written.append(Portfolio.objects.get(id=portfolio_id).status)

    monkeypatch.setattr(lifecycle, "publish", tell)
    scene.log.ticks(code, range(5))
    eventually(lambda: market.put == 5, saying="a queue")
    reconfigure(processor, config((code,)))
    if forced:
        hurried(scene, processor, stop_timeout=-1.0)
        with pytest.raises(reload.DrainTimeout):
            reload.reload(processor, run, market, feedback)
        processor._leave()
        scene.begin(processor)
    else:
        reload.reload(processor, run, market, feedback)
    assert told == written == ["stopping", "stopped", "reloading", "running"]


# -- a version's first checkpoint --------------------------------------------------------------------------------------


@dataclass
class Written:
    """What was saved of a version: the partitions of the market, and the codes whose past had been shown by then."""

    partitions: set[int]
    shown: set[str]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Written]]:
    """By version, in order, each that is handed over to be written, whether a newer one overtakes it or not. Of
    portfolios that remember nothing of any code when they are made."""
    found: dict[int, list[Written]] = defaultdict(list)
    shown: dict[int, set[str]] = defaultdict(set)
    submit, show = Checkpointer.submit, joining.warm_up

    def watched(self: Checkpointer, request: Request) -> None:
        version = request.save.config_version
        partitions = set(request.save.offsets.get(topics.MARKET_DATA["cn"], {}))
        found[version].append(Written(partitions, set(shown[version])))
        submit(self, request)

    def showing(processor: Processor, run: Runtime, codes: frozenset[str], *args: Any) -> None:
        shown[run.config_version] |= codes
        show(processor, run, codes, *args)

    monkeypatch.setattr(Kernel, "cold", Kernel.codes)
    monkeypatch.setattr(Checkpointer, "submit", watched)
    monkeypatch.setattr(joining, "warm_up", showing)
    return found


def test_a_version_taken_over_by_a_start_is_saved_with_its_partitions_and_its_past_from_the_first(
    scene: Scene, new_code: NewCode, written: dict[int, list[Written]]
) -> None:
    scene.context = replace(scene.context, limits=replace(scene.context.limits, checkpoint_interval=0.0))
    kept, removed, added = new_code(1), new_code(2), new_code(3)
    processor = scene.portfolio(kept)
    reconfigure(processor, config((kept, removed)), version=2)
    scene.begin(processor)
    processor._leave()
    for number in range(3):
        told = encode(answer(number + 1, "o", processor.portfolio_id))
        scene.log.raw(topics.ORDERS_FEEDBACK, processor.portfolio_id, told)
    scene.log.ticks(kept, range(5))
    reconfigure(processor, config((kept, added)), version=3)
    run, *_ = scene.begin(Processor(scene.context, processor.portfolio_id, 1))
    assert (run.portfolio.pseq, count(run)) == (3, 5)
    assert len(written[3]) > 1  # some of them while it read on
    assert [each for each in written[3] if each != Written({1, 3}, {kept, added})] == []


def test_a_version_taken_over_by_a_reload_is_saved_with_its_partitions_and_its_past_from_the_first(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, written: dict[int, list[Written]]
) -> None:
    """Each price makes an order, and each order a checkpoint: while the buffer is replayed too."""
    kept, removed, added = new_code(1), new_code(2), new_code(3)
    processor = scene.portfolio(kept, every=1)
    reconfigure(processor, config((kept, removed), every=1), version=2)
    run, market, feedback = scene.begin(processor)
    stop = ending.say_stop

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(kept, range(2))
        scene.log.ticks(removed, range(2))
        scene.log.ticks(kept, range(2, 4))
        eventually(lambda: market.queued == 6, saying="the buffer")

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    reconfigure(processor, config((kept, added), every=1), version=3)
    reload.reload(processor, run, market, feedback)
    assert count(run) == 4
    assert len(written[3]) > 1
    assert [each for each in written[3] if each != Written({1, 3}, {kept, added})] == []


def test_a_code_that_comes_again_after_a_start_without_it_begins_at_the_live_end(
    scene: Scene, new_code: NewCode
) -> None:
    code, other = new_code(1), new_code(2)
    processor = scene.portfolio(code)
    for version, codes in enumerate([(code, other), (code,), (code, other)], start=2):
        scene.log.ticks(other, range(4))
        reconfigure(processor, config(codes), version)
        processor = Processor(scene.context, processor.portfolio_id, 1)
        run, market, feedback = scene.begin(processor)
        drain(processor, run, market, feedback)
        assert count(run) == 0
        processor._leave()


# -- what is not answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["the lease", "the database"])
def test_when_it_may_go_on_it_sends_again_all_that_is_unanswered(scene: Scene, new_code: NewCode, what: str) -> None:
    code = new_code()
    processor = scene.portfolio(code, every=1)
    run, market, feedback = scene.begin(processor)
    scene.log.ticks(code, range(2))
    eventually(lambda: market.put == 2, saying="two ticks")
    drain(processor, run, market, feedback)
    eventually(lambda: len(scene.producer.messages) == 2, saying="two orders")
    processor.wait_until_allowed()
    processor.timers(run, market)
    assert not run.intents  # nothing was in its way
    lease, healthy = scene.context.lease, scene.checkpointer.healthy
    if what == "the lease":
        lease._until = float("-inf")
    else:
        healthy.clear()
    waiting = threading.Thread(target=processor.wait_until_allowed)
    waiting.start()
    eventually(processor._resend_now.is_set, saying="it waits")
    lease.renew(lease.now())
    healthy.set()
    waiting.join(10)
    processor.timers(run, market)
    eventually(lambda: len(scene.producer.messages) == 4, saying="both sent again")
    ids = [decode_order(value).order_id for _, _, value in scene.producer.messages]
    assert ids[:2] == ids[2:]


def test_a_reload_without_a_newer_version_is_none(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    run, market, feedback = scene.begin(processor)
    portfolio = run.portfolio
    reload.reload(processor, run, market, feedback)
    assert run.portfolio is portfolio
    assert Portfolio.objects.get(id=processor.portfolio_id).status == "running"


# -- beginning and ending ----------------------------------------------------------------------------------------------


def test_one_that_is_somebody_elses_is_dropped(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    Assignment.objects.update(epoch=2)
    with pytest.raises(Discarded):
        processor._start()
    processor.work()
    assert not processor.given_back
    assert processor.ending == "discard"


def test_one_that_cannot_be_made_ends_in_error(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code(), cannot_start=True)
    with pytest.raises(Unloadable):
        processor._start()
    processor.work()
    row = Portfolio.objects.get(id=processor.portfolio_id)
    assert (row.status, "made to fail" in row.status_reason) == ("error", True)
    assert scene.alerts.types == ["component_error"]


def test_with_kafka_away_it_is_given_back_as_it_was_saved(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_portfolio_id: str) -> Any:
        raise KafkaUnavailable("no answer")

    processor = scene.portfolio(new_code())
    monkeypatch.setattr(Context, "feedback_position", lambda _self, portfolio_id: away(portfolio_id))
    processor.start()
    eventually(lambda: processor.runtime is not None, saying="the first try")
    processor.end("give_back", time.monotonic() + 10)
    processor.join(5)
    assert processor.given_back
    assert Assignment.objects.get(portfolio_id=processor.portfolio_id).node_id == ""


def test_one_that_cannot_start_says_so_after_a_while_and_goes_on_trying(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[str]] = []

    def away(_self: Context, _codes: Any) -> Any:
        said.append(scene.alerts.types)
        raise KafkaUnavailable("a topic does not exist")

    monkeypatch.setattr("nodes.processor._PATIENCE", 0.5)
    processor = scene.portfolio(new_code())
    try:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(Context, "market_positions", away)
            processor.start()
            eventually(lambda: len(said) >= 4, saying="four tries, a second from each to the next")
            assert said[:4] == [[], [], ["start_failed"], ["start_failed"]]
        (alert,) = scene.alerts.raised
        assert (alert.severity, "a topic does not exist" in alert.message) == ("critical", True)
        assert processor.running.wait(20)
        assert processor._failing_since is None
    finally:
        processor.end("discard")
        processor.join(10)


def with_a_past(*codes: str) -> dict[str, Any]:
    """A configuration whose strategy has a memory of each code, which history fills."""
    strategy = {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": 4}}
    return {"strategy": strategy, "sizer": {"name": ONE_LOT}, "codes": list(codes), "policy": {"pyramiding": True}}


@pytest.mark.parametrize("booked", ["a deposit", "a position"])
def test_what_was_booked_before_its_first_start_does_not_cost_it_its_past(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, booked: str
) -> None:
    code = new_code()
    processor = scene.portfolio(code)
    reconfigure(processor, with_a_past(code))
    assigned = Assignment.objects.filter(portfolio_id=processor.portfolio_id)
    assigned.update(node_id="")
    if booked == "a deposit":
        services.deposit(processor.portfolio_id, 100, "to begin with", scene.user)
    else:
        services.correct_position(processor.portfolio_id, code, 300, "held before", 10, scene.user)
    assert bytes(Checkpoint.objects.get(portfolio_id=processor.portfolio_id).state)
    assigned.update(node_id="node-t")
    shown: list[frozenset[str]] = []
    show = joining.warm_up

    def watched(processor: Processor, run: Runtime, codes: frozenset[str], *args: Any) -> None:
        shown.append(codes)
        show(processor, run, codes, *args)

    monkeypatch.setattr(joining, "warm_up", watched)
    scene.begin(processor)
    assert shown == [{code}]
    processor._leave()
    scene.begin(Processor(scene.context, processor.portfolio_id, 1))
    assert shown == [{code}], "a successor finds it in the checkpoint"


def test_what_is_to_be_discarded_stays_so(scene: Scene, new_code: NewCode) -> None:
    processor = scene.portfolio(new_code())
    processor.end("discard")
    processor.end("give_back", time.monotonic() + 10)
    processor.work()
    assert not processor.given_back
    assert Assignment.objects.get(portfolio_id=processor.portfolio_id).epoch == 1


def test_a_checkpoint_the_database_will_not_take_ends_it_in_error(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> set[str]:
        raise ValueError("no number")

    monkeypatch.setattr(checkpoints, "save", refuse)
    processor = scene.portfolio(new_code())
    processor.work()
    row = Portfolio.objects.get(id=processor.portfolio_id)
    assert (row.status, "no number" in row.status_reason) == ("error", True)
    assert scene.checkpointer.is_alive()


def test_a_topic_that_was_made_anew_begins_a_new_incarnation(scene: Scene, new_code: NewCode) -> None:
    code = new_code()
    processor = scene.portfolio(code, every=1)
    run, market, feedback = scene.begin(processor)
    topic, partition = position_of(code)
    scene.log.ticks(code, range(1))
    eventually(lambda: market.put == 1, saying="a tick")
    drain(processor, run, market, feedback)
    processor.save(wait=True)
    row = Checkpoint.objects.get(portfolio_id=processor.portfolio_id)
    row.topic_ids[topic] = "the id of one that was deleted"
    row.save()
    processor._leave()
    first = run.take_save()[0].offsets[topic][partition]
    assert first > 0
    run, market, feedback = scene.begin(Processor(scene.context, processor.portfolio_id, 1))
    assert run.portfolio.incarnation == 1
    assert "data_gap" in scene.alerts.types
    assert run.topic_ids[topic] == scene.context.catalogue.ids([topic])[topic]
    ids = [decode_order(v).order_id for t, _, v in scene.producer.messages if t == topics.ORDERS_SUBMISSION]
    assert len(set(ids)) >= 2  # the same tick once more, under another name


# -- after a user's stop -----------------------------------------------------------------------------------------------


def test_after_its_users_stop_a_cancel_of_before_is_sent_again_when_it_is_overdue(
    scene: Scene, new_code: NewCode
) -> None:
    """Its order needs no other cancel; were this one not awaited, the order would stay open for ever."""
    scene.context = replace(scene.context, limits=replace(scene.context.limits, resend_interval=0.0))
    code = new_code()
    processor = scene.portfolio(code, every=1)
    kernel = Kernel(processor.portfolio_id, parse(config((code,), every=1), "cn"), RULES, 10**10)
    (order,) = kernel.apply(tick(1, code), Cause(*position_of(code), 1))
    (cancel,) = kernel.cancel_unanswered(Cause(*position_of(code), 2))
    Checkpoint.objects.filter(portfolio_id=processor.portfolio_id).update(
        state=kernel.snapshot(), config_version=1, offsets={topics.ORDERS_FEEDBACK: {}}
    )
    run, _, _ = scene.begin(processor)
    assert scene.producer.messages == []
    processor.timers(run, None)
    eventually(lambda: len(scene.producer.messages) == 2, saying="both are sent")
    sent = [decode_order(value) for _, _, value in scene.producer.messages]
    assert [message.order_id for message in sent] == [order.order_id, order.order_id]
    assert getattr(sent[0], "cancel_id", "") == getattr(cancel, "cancel_id", None)
