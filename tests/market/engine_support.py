"""`ginkgo engine run` as a process on the run's servers, portfolios for it, and an oracle that reads its books."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ginkgo_site.supervisor.detach import command
from market.messages import OrderSubmission, encode
from market.topics import ORDERS_SUBMISSION
from tests.market.desk_support import submission
from tests.market.log_support import Feed
from tests.support import eventually
from tests.support.stack import RunningStack

_PORTFOLIOS = """
import json
from uuid import uuid4
from portfolios import accounts, services
from portfolios.models import Assignment
account = accounts.create(str(uuid4()), None, broker="{broker}")
config = {{"strategy": {{"name": "TrendFollowStrategy", "params": {{"short_period": 2, "long_period": 5}}}},
          "risk_managements": [], "sizer": {{"name": "FixedAmountSizer", "params": {{"amount": 10000}}}},
          "codes": ["600519.SH"]}}
ids = [services.create(f"engine test {{n}}", None, "cn", 100_000_000, config, account=account).id
       for n in range({count})]
Assignment.objects.filter(portfolio_id__in=ids).update(node_id="test", epoch=7)
print(json.dumps(ids))
"""

_BOOKS = """
import json
from market.models import *
ids = json.loads('{ids}')
print(json.dumps({{
  "orders": dict(Order.objects.filter(portfolio_id__in=ids).values_list("order_id", "state")),
  "fills": list(Fill.objects.filter(portfolio_id__in=ids).values_list("fill_id", flat=True)),
  "broker_orders": dict(BrokerOrder.objects.filter(portfolio_id__in=ids).values_list("order_id", "submitted_count")),
  "broker_fills": list(BrokerFill.objects.filter(order__portfolio_id__in=ids).values_list("fill_id", flat=True)),
  "outbox": list(OutboxMessage.objects.filter(portfolio_id__in=ids).order_by("pseq")
                 .values_list("portfolio_id", "pseq", "order_id", "message")),
  "unpublished": OutboxMessage.objects.filter(portfolio_id__in=ids, published=False).count(),
}}))
"""


def make_portfolios(stack: RunningStack, count: int, broker: str = "simulation") -> list[str]:
    """In the product's own database, in an account at `broker`, assigned as of epoch 7."""
    ids: list[str] = _shell(stack, _PORTFOLIOS.format(count=count, broker=broker))
    return ids


def books(stack: RunningStack, portfolio_ids: list[str]) -> dict[str, Any]:
    """What engine and broker have written down about these portfolios."""
    found: dict[str, Any] = _shell(stack, _BOOKS.format(ids=json.dumps(portfolio_ids)))
    return found


def _shell(stack: RunningStack, script: str) -> Any:
    done = stack.run("shell", "--no-imports", "-c", script)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


class Engine:
    """One process; `log` has what it said."""

    def __init__(self, stack: RunningStack, **variables: str) -> None:
        self._log = stack.home / f"engine-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command("engine", "run"),
                env={**stack.environment, "GINKGO_ENGINE__MAX_ORDERS_PER_MINUTE": "100000", **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self, partitions: int = 10) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log[-3000:]
            return "has partitions" in self.log

        eventually(ready, timeout=40, saying="the engine has its partitions")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, timeout: float = 12.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def engine(stack: RunningStack, **variables: str) -> Iterator[Engine]:
    running = Engine(stack, **variables)
    try:
        running.wait_until_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


class Trader:
    """Sends orders of some portfolios, each caused by a tick that is really in the log."""

    def __init__(self, portfolio_ids: list[str], code: str = "600519.SH") -> None:
        self.portfolio_ids = portfolio_ids
        self.code = code
        self.feed = Feed(datetime(2024, 3, 5, 2, 0, tzinfo=UTC))
        self.sent: list[OrderSubmission] = []
        self._cause = ""
        self.tick()

    def tick(self, price: float = 10.0) -> None:
        self._cause = self.feed.tick(self.code, price, seconds=0.01, prev_close=10.0)

    def order(self, portfolio: int = 0, **changes: Any) -> OrderSubmission:
        n = len(self.sent)
        made = submission(
            self.portfolio_ids[portfolio],
            code=self.code,
            cause=f"{self._cause}:{n}",
            timestamp=self.feed.now,
            **changes,
        )
        return self.send(made)

    def send(self, message: OrderSubmission) -> OrderSubmission:
        self.feed.write(ORDERS_SUBMISSION, message.portfolio_id, encode(message))
        self.sent.append(message)
        return message
