"""Random failures are the same for the same seed, and a run of many seeds goes on where it was cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from ginkgo_site.drill import catalogue, chaos, servers
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground
from ginkgo_site.drill.outcome import Outcome
from ginkgo_site.drill.results import Results
from ginkgo_site.drill.scene import Scene
from ginkgo_site.drill.world import World

NODES = ("drill-1", "drill-2")
ALL = ("kafka", "mysql", "redis")


def test_a_fault_says_what_is_done_to_whom() -> None:
    assert str(chaos.Fault(1.5, "cut", "drill-1", 3.0, "mysql")) == "1.5 s: cut drill-1 from mysql for 3.0 s"
    assert str(chaos.Fault(2.0, "restart", "kafka", 0.0)) == "2.0 s: restart kafka"


def test_without_leave_to_kill_them_no_server_is_restarted() -> None:
    faults = [fault for seed in range(20) for fault in chaos.plan(seed, 180, NODES, ("redis",), ())]
    assert {fault.kind for fault in faults} == {"kill", "freeze", "cut", "silence"}
    assert {fault.server for fault in faults if fault.kind == "cut"} == {"redis"}


def plan(seed: int, seconds: float) -> list[chaos.Fault]:
    return chaos.plan(seed, seconds, NODES, ("kafka", "mysql", "redis"), ALL)


def test_a_seed_is_a_plan() -> None:
    assert plan(7, 180) == plan(7, 180) != plan(8, 180)


def test_twenty_seeds_of_three_minutes_are_three_hundred_faults_of_every_kind() -> None:
    plans = [plan(seed, 180) for seed in range(1, 21)]
    # A tenth of them may find their target down already.
    assert sum(map(len, plans)) >= 330
    assert {fault.kind for plan in plans for fault in plan} == {"kill", "freeze", "cut", "restart", "silence"}


@pytest.mark.parametrize("seed", range(30))
def test_nobody_is_hit_while_he_is_down(seed: int) -> None:
    until: dict[str, float] = {}
    for fault in plan(seed, 300):
        assert fault.at >= until.get(fault.target, 0)
        until[fault.target] = fault.at + fault.seconds


class FakeWorld:
    """Processes that are up or down, and what was done to them."""

    names = ("scheduler", "engine", *NODES)
    nodes = NODES
    home = Path("nowhere")

    def __init__(self, down: Collection[str] = ()) -> None:
        self.done: list[tuple[str, ...]] = []
        self._down = set(down)

    def alive(self, name: str) -> bool:
        return name not in self._down

    def start(self, name: str) -> None:
        self._down.discard(name)

    def until(self, condition: Callable[[], bool], _saying: str, _timeout: float = 0.0) -> float:
        assert condition()
        return 0.0

    def __getattr__(self, deed: str) -> Callable[..., None]:
        return lambda *whom: self.done.append((deed, *whom))


def injected(monkeypatch: pytest.MonkeyPatch, world: FakeWorld, faults: list[chaos.Fault]) -> tuple[int, list[str]]:
    """Chaos as it runs these: how many it counts, and what it lists. Servers are killed for show, and not back yet."""
    monkeypatch.setattr(chaos, "plan", lambda *_: faults)
    monkeypatch.setattr(servers, "addresses", dict)
    monkeypatch.setattr(servers, "pid", lambda _home, _name: 7)
    monkeypatch.setattr(servers, "kill", lambda _home, name: world.done.append(("kill", name)) or 7)
    listed: list[str] = []
    scene = Scene(cast(World, world), cast(Ground, None), cast(Feed, None), 1, listed.append)
    chaos.drill(1, 0.005).run(scene)
    return scene.injected, listed


def test_only_what_could_be_done_is_counted_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld(down=["drill-1"])
    count, listed = injected(
        monkeypatch,
        world,
        [
            chaos.Fault(0.0, "kill", "drill-1", 0.0),
            chaos.Fault(0.1, "freeze", "drill-2", 0.0),
            chaos.Fault(0.1, "restart", "kafka", 0.0),
            chaos.Fault(0.2, "restart", "kafka", 0.0),
        ],
    )
    assert world.done == [("freeze", "drill-2"), ("kill", "kafka"), ("thaw", "drill-2")]
    assert world.alive("drill-1"), "what was down is started again"
    assert count == 2
    assert listed == ["0.1 s: freeze drill-2", "0.1 s: restart kafka"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was asked to be run; each drill passes."""
    asked: list[list[str]] = []

    def run(names: Sequence[str]) -> Iterator[Outcome]:
        asked.append(list(names))
        for name in names:
            yield Outcome(name=name, orders=1, messages=1)

    monkeypatch.setattr(catalogue, "run", run)
    return asked


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, runs: list[list[str]]) -> None:
    kept = tmp_path / "kept.jsonl"
    Results(kept).run(["chaos:1:3", "chaos:2:3"])
    with kept.open("ab") as file:
        file.write(b'{"name": "chaos:3')  # killed as it wrote
    outcomes = Results(kept).run(["chaos:1:3", "chaos:2:3", "chaos:3:3"])
    assert runs == [["chaos:1:3", "chaos:2:3"], ["chaos:3:3"]]
    assert [outcome.name for outcome in outcomes] == ["chaos:1:3", "chaos:2:3", "chaos:3:3"]
    assert sorted(Results(kept).read()) == ["chaos:1:3", "chaos:2:3", "chaos:3:3"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("dear diary\n")
    with pytest.raises(DrillError, match="line 1"):
        Results(tmp_path / "other").read()
