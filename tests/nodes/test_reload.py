"""A reload that wants other codes: what becomes of their prices, step by step on a real log and a real database.

Reloads under one set of codes are in `test_processor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from market.bus import KafkaUnavailable
from nodes import reload
from nodes.context import Context
from nodes.joiner import Reader
from nodes.subscription import Position
from portfolios.models import Portfolio
from tests.nodes.log import Log, position_of
from tests.nodes.support import Alerts, config
from tests.nodes.test_processor import NewCode, Scene, count, drain, in_order, reconfigure
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def scene(log: Log, alerts: Alerts) -> Iterator[Scene]:
    scene = Scene(log, alerts)
    yield scene
    scene.checkpointer.request_stop()
    scene.checkpointer.join(10)


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
