"""A real feed publishes a code all the while its portfolio is on its way from one node to another (SPEC N3, S4)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from market.feeds.replay import ReplayFeed
from market.feeds.service import run_feed
from market.messages import InterestUpdate, decode_price
from tests.integration.live.test_commands import celery
from tests.nodes.support import MORNING, config
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of, system_events

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]
Spare = Callable[[], NodeProcess]

_MOMENTS = 6000


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts a replay of these codes, a tick of each every 40 ms."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(*codes: str) -> None:
        file = tmp_path / "story.csv"
        moments = [(MORNING + timedelta(seconds=n)).isoformat() for n in range(_MOMENTS)]
        file.write_text(
            "\n".join(["code,timestamp,price", *(f"{code},{at},10" for at in moments for code in codes), ""])
        )
        options = {"speed": 25.0, "rewind": True}
        threads.append(threading.Thread(target=run_feed, args=(ReplayFeed(file), stop), kwargs=options))
        threads[0].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(30)


def test_no_tick_of_a_code_is_missing_from_the_log_while_its_portfolio_moves(
    cluster: Cluster, node: NodeProcess, spare: Spare, new_code: NewCode, feed: Callable[..., None]
) -> None:
    target = spare()
    moving, staying = new_code(), new_code()
    portfolio = cluster.portfolio(config((moving,)), node.node_id)
    other = cluster.portfolio(config((staying,)), node.node_id)  # or the feed would stand still, and nothing be missed
    cluster.run(portfolio)
    cluster.run(other)

    def told(code: str) -> list[str]:
        ticks = [message for message in cluster.read(*place_of(code)) if message.key() == code.encode()]
        return [decode_price(message.value()).timestamp.isoformat() for message in ticks]

    def withdrawn() -> bool:
        events = system_events(cluster, node.node_id)
        return any(isinstance(event, InterestUpdate) and moving in event.removed for event in events)

    def grows(code: str, by: int = 30) -> None:
        before = len(told(code))
        eventually(lambda: len(told(code)) >= before + by, timeout=30, saying=f"{by} more ticks of {code}")

    feed(moving, staying)
    grows(moving)
    celery(node, "portfolio.migrate_out", portfolio, epoch=1)
    eventually(withdrawn, timeout=20, saying="the source wanting its code no more")
    grows(staying)
    cluster.assign(portfolio, target.node_id)
    cluster.run(portfolio)
    grows(staying)

    times = told(moving)
    between = [at for at in told(staying) if times[0] <= at <= times[-1]]
    assert times == between, "a tick of the code that stayed had one of the code that moved beside it, each time"
    end = cluster.end(*place_of(moving))
    eventually(lambda: cluster.offset(portfolio, moving) >= end, timeout=20, saying="all read by the target")
    cluster.desire(portfolio, "stopped")
    cluster.desire(other, "stopped")
