"""A reload that wants other codes: what becomes of their prices, step by step on a real log and a real database.

Reloads under one set of codes are in `test_processor`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from market.bus import KafkaUnavailable
from nodes import ending, joining, reload
from nodes.context import Context
from nodes.joiner import Reader
from nodes.processor import Processor
from nodes.runtime import Runtime
from nodes.subscription import Position
from portfolios.kernel.events import Cause
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.models import Portfolio
from tests.nodes.log import Log, position_of
from tests.nodes.support import Alerts, config
from tests.nodes.test_processor import NewCode, Scene, count, drain, in_order, read_on, reconfigure, with_a_past
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def scene(log: Log, alerts: Alerts) -> Iterator[Scene]:
    scene = Scene(log, alerts)
    yield scene
    scene.checkpointer.request_stop()
    scene.checkpointer.join(10)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """By code, the offsets of the prices that are applied, by whomever."""
    found: dict[str, list[int]] = defaultdict(list)
    apply = Kernel.apply

    def watched(self: Kernel, event: Any, cause: Cause) -> Any:
        found[event.code].append(cause.offset)
        return apply(self, event, cause)

    monkeypatch.setattr(Kernel, "apply", watched)
    return found


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """By code, up to which offsets its past was shown."""
    found: dict[str, list[int]] = {}
    show = joining.warm_up

    def watched(
        processor: Processor, run: Runtime, codes: frozenset[str], starts: dict[Position, int], ids: dict[str, str]
    ) -> None:
        for code in codes:
            found.setdefault(code, []).append(starts[position_of(code)])
        show(processor, run, codes, starts, ids)

    monkeypatch.setattr(joining, "warm_up", watched)
    return found


# -- a new code where others are read already --------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [False, True], ids=["it lives on", "it dies before it has applied its buffer"])
@pytest.mark.parametrize("number", [4, 40], ids=["a buffer", "more than a buffer holds"])
def test_a_new_code_in_a_partition_that_is_read_is_told_each_price_once(
    scene: Scene,
    new_code: NewCode,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, list[int]],
    shown: dict[str, list[int]],
    number: int,
    dies: bool,
) -> None:
    code, added, elsewhere = new_code(1), new_code(1), new_code(2)
    processor = scene.portfolio(code)
    reconfigure(processor, with_a_past(code, elsewhere), version=2)
    run, market, feedback = scene.begin(processor)
    place, start = position_of(code), scene.log.end(position_of(code))
    stop, replay = ending.say_stop, reload._apply_up_to

    def meanwhile(processor: Processor, run: Runtime) -> None:
        stop(processor, run)
        scene.log.ticks(elsewhere, range(2))
        eventually(lambda: market.queued == 2, saying="what comes of the other partition")
        scene.log.ticks(added, range(3))
        scene.log.ticks(code, range(number))
        end = start + 3 + number
        eventually(lambda: scene.context.market.positions[place] == end, saying="all of it routed")

    def not_any_more(*args: Any) -> bool:
        return replay(*args) if run.config_version == 2 else True

    monkeypatch.setattr(ending, "say_stop", meanwhile)
    if dies:
        monkeypatch.setattr(reload, "_apply_up_to", not_any_more)
    reconfigure(processor, with_a_past(code, elsewhere, added), version=3)
    reload.reload(processor, run, market, feedback)
    assert added not in told
    if dies:
        processor._leave()
        processor = Processor(scene.context, processor.portfolio_id, 1)
        run, market, feedback = scene.begin(processor)
    read_on(processor, run, market, feedback)
    (warmed_up_to,) = shown[added]
    assert told[added] == [offset for offset in range(start, start + 3) if offset >= warmed_up_to]
    assert told[code] == list(range(start + 3, start + 3 + number))
    assert len(told[elsewhere]) == 2
    assert run.next_offset(place) == start + 3 + number


def test_where_nothing_of_a_partition_waits_a_new_code_begins_at_its_join_point(
    scene: Scene, new_code: NewCode, told: dict[str, list[int]], shown: dict[str, list[int]]
) -> None:
    """What was passed over is not read again: a reload need not stand still for it."""
    code, added = new_code(1), new_code(1)
    processor = scene.portfolio(code)
    reconfigure(processor, with_a_past(code), version=2)
    run, market, feedback = scene.begin(processor)
    place = position_of(code)
    scene.log.ticks(added, range(5))
    end = scene.log.end(place)
    eventually(lambda: scene.context.market.positions[place] == end, saying="all of it routed")
    reconfigure(processor, with_a_past(code, added), version=3)
    reload.reload(processor, run, market, feedback)
    assert market.halted is None
    assert run.next_offset(place) == end
    processor._leave()
    processor = Processor(scene.context, processor.portfolio_id, 1)
    run, market, feedback = scene.begin(processor)
    read_on(processor, run, market, feedback)
    assert shown[added] == [end]
    assert told == {}


# -- a code whose prices cannot be had ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["a partition without a leader", "a topic that is not there"])
def test_a_code_that_cannot_be_read_leaves_the_old_configuration_running_and_is_tried_again(
    scene: Scene, new_code: NewCode, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    code, added = new_code(1), new_code(2)
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    start = scene.log.end(position_of(code))
    watermarks, positions_of = Reader.watermarks, Context.market_positions

    def no_leader(self: Reader, positions: set[Position], timeout: float = 10.0) -> Any:
        if position_of(added) in positions:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return watermarks(self, positions, timeout)

    def no_topic(self: Context, codes: Any) -> Any:
        if added in codes:
            raise KafkaUnavailable("there is no such topic")
        return positions_of(self, codes)

    reconfigure(processor, config((code, added)))
    scene.log.ticks(code, range(3))
    eventually(lambda: market.put == 3, saying="what came before")
    with monkeypatch.context() as meanwhile:
        if fault == "a partition without a leader":
            meanwhile.setattr(Reader, "watermarks", no_leader)
        else:
            meanwhile.setattr(Context, "market_positions", no_topic)
        reload.reload(processor, run, market, feedback)
    row = Portfolio.objects.get(id=processor.portfolio_id)
    assert (row.status, "out of reach" in row.status_reason) == ("running", True)
    assert (run.config_version, processor.config_version) == (1, 2)
    assert scene.alerts.types == ["reload_failed"]
    scene.log.ticks(code, range(3, 6))
    eventually(lambda: market.put == 6, saying="what comes after")
    drain(processor, run, market, feedback)
    assert run.portfolio.snapshot() == in_order(processor, code, start, range(6))

    processor._refused_until = 0.0  # a minute later
    assert processor.config_version == 1
    reload.reload(processor, run, market, feedback)
    assert (run.config_version, processor.config_version) == (2, 2)
    assert Portfolio.objects.get(id=processor.portfolio_id).status_reason == ""
    scene.log.ticks(added, range(2))
    eventually(lambda: drain(processor, run, market, feedback) or count(run) == 8, saying="the new code's prices")


# -- a topic that was made anew ----------------------------------------------------------------------------------------


def test_codes_that_came_when_their_topic_had_been_made_anew_begin_where_they_joined(
    scene: Scene, new_code: NewCode
) -> None:
    """All that it had read of the earlier topic of that name is forgotten with the code."""
    code, added = new_code(1), new_code(2)
    topic, _ = position_of(code)
    processor = scene.portfolio(code)
    run, market, feedback = scene.begin(processor)
    run.topic_ids[topic] = "the id of one that was deleted"
    scene.log.ticks(added, range(4))
    reconfigure(processor, config((added,)))
    reload.reload(processor, run, market, feedback)
    assert run.topic_ids[topic] == scene.context.catalogue.ids([topic])[topic]
    processor._leave()
    processor = Processor(scene.context, processor.portfolio_id, 1)
    run, market, feedback = scene.begin(processor)
    read_on(processor, run, market, feedback)
    assert (count(run), run.portfolio.incarnation) == (0, 0)
    assert scene.alerts.types == []
