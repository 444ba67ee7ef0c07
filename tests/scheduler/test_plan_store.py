"""Publishing the plan: each node whose part changed reads its part on `schedule.updates`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from market import topics
from market.control import ControlConsumer
from market.messages import Placement, ScheduleUpdate, decode_schedule
from scheduler import cycle, plan_store
from scheduler.models import Plan
from tests.scheduler.conftest import Herd
from tests.support import eventually

Make = Callable[..., str]


class Reader(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="reader", daemon=True)
        self.consumer = ControlConsumer((topics.SCHEDULE_UPDATES,), "test-reader")
        self.seen: list[tuple[str, ScheduleUpdate]] = []

    def run(self) -> None:
        for record in self.consumer:
            self.seen.append((record.key, decode_schedule(record.value)))


@pytest.fixture
def reader(herd: Herd) -> Iterator[Reader]:
    thread = Reader()
    thread.start()
    assert thread.consumer.ready.wait(20)
    yield thread
    thread.consumer.stop.set()
    thread.join(10)


def test_only_nodes_whose_part_changed_are_told(herd: Herd, portfolio: Make, reader: Reader) -> None:
    portfolio("p1")
    herd.beat("n1")
    cycle.tick()
    herd.beat("n1", "n2")
    portfolio("p2")
    cycle.tick()
    eventually(lambda: len(reader.seen) >= 2)
    (first_key, first), (second_key, second) = reader.seen
    assert (first_key, first.node_id, first.portfolios) == ("n1", "n1", [Placement("p1", 1)])
    assert (second_key, second.node_id, second.portfolios) == ("n2", "n2", [Placement("p2", 1)])
    assert (first.action, second.action) == ("update", "update")
    assert [first.plan_version, second.plan_version] == sorted(Plan.objects.values_list("version", flat=True))


def test_a_node_that_lost_everything_is_told_so(herd: Herd, portfolio: Make, reader: Reader) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick()
    herd.die("n1")
    cycle.check()
    eventually(lambda: any(u.node_id == "n2" for _, u in reader.seen))
    told = {u.node_id: (u.action, u.portfolios) for _, u in reader.seen}
    assert told == {"n1": ("migrate", []), "n2": ("migrate", [Placement("p1", 2)])}


def test_a_node_that_stands_between_a_move_and_a_start_is_told_of_the_move() -> None:
    before = {"p1": ["n1", 1], "p2": ["n2", 1], "p3": ["n3", 1]}
    after: plan_store.Placements = {"p1": ["n2", 2], "p2": ["n2", 2], "p3": ["n3", 1], "p4": ["n4", 1]}
    assert plan_store._changed_nodes(before, after) == {"n1": "migrate", "n2": "migrate", "n4": "update"}


def test_old_versions_are_forgotten(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_store, "KEEP", 3)
    versions = [Plan.objects.create().version for _ in range(5)]
    assert plan_store.prune() == 2
    assert sorted(Plan.objects.values_list("version", flat=True)) == versions[2:]
    assert plan_store.prune() == 0
