"""The API's lists with 10,000 portfolios and 1,000 nodes, beside an empty Django view in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median, percentile
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.progress import Say
from ginkgo_site.installation.seed import SAMPLES
from portfolios import api_keys, livestate
from portfolios.kernel.config import parse
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.kernel.rules import rules_for
from portfolios.models import Account, Assignment, Checkpoint, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from scheduler.models import Node, Plan

PORTFOLIOS, NODES = 10_000, 1_000
MUST_MS = 100.0
_WARM, _RUNS = 5, 60
ROUTES = {
    "portfolios": "/api/portfolio",
    "portfolios, the last page": f"/api/portfolio?offset={PORTFOLIOS - 50}",
    "portfolios of a node": "/api/portfolio?node_id=node-0007",
    "portfolios by name": "/api/portfolio?name=p09&ordering=-updated_at",
    "plan": "/api/schedule/plan",
    "nodes": "/api/nodes",
    "scheduler": "/api/scheduler/status",
    "commands": "/api/commands",
}


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"{}", content_type="application/json")


urlpatterns = [path("empty", empty), path("", include("ginkgo_site.urls"))]


def run(say: Say) -> list[Outcome]:
    """The slowest route's p95 counts. A request goes through all of Django, but not through a socket."""
    call_command("migrate", verbosity=0)
    settings.ROOT_URLCONF = __name__
    owner = User.objects.create_superuser("bench", password=None)
    _, key = api_keys.create("bench", owner, [api_keys.READ], datetime.now(UTC))
    say(f"api: {PORTFOLIOS:,} portfolios on {NODES:,} nodes …")
    _populate(owner)
    client = Client(headers={"x-api-key": key, "host": "localhost"})
    _unlimited()
    times = {name: _measure(lambda url=url: _get(client, url)) for name, url in ROUTES.items()}  # type: ignore[misc]
    bare = _measure(lambda: _get(client, "/empty"))
    p95 = {name: percentile(found, 95) for name, found in times.items()}
    for name, value in p95.items():
        say(f"api: {name}: p50 {median(times[name]):.1f} ms, p95 {value:.1f} ms")
    return [
        Outcome(
            name="api",
            ours=max(p95.values()),
            unit="ms",
            must=MUST_MS,
            bound="at most",
            peers={"an empty Django view": percentile(bare, 95)},
            details={f"{name} (p95, ms)": value for name, value in p95.items()},
            load=os.getloadavg()[0],
        )
    ]


def _get(client: Client, url: str) -> None:
    answer = client.get(url)
    if answer.status_code != 200:
        raise BenchError(f"{url} answered {answer.status_code}: {answer.content[:200]!r}")


def _measure(ask: Callable[[], None]) -> list[float]:
    """Milliseconds of each request."""
    found = []
    for number in range(_WARM + _RUNS):
        begun = time.perf_counter()
        ask()
        if number >= _WARM:
            found.append((time.perf_counter() - begun) * 1000)
    return found


def _unlimited() -> None:
    rates = settings.GINKGO.api.model_copy(update={"read_rate": "100000000/s"})
    settings.GINKGO = settings.GINKGO.model_copy(update={"api": rates})


def _populate(owner: User) -> None:
    """Every portfolio runs: a checkpoint with a state, and live figures in Redis for all but every tenth."""
    config, account = SAMPLES[0].config(), Account.paper(owner, "cn")
    rows = [
        Portfolio(
            name=f"p{n:05d}", owner=owner, account=account, initial_cash=1_000_000, config=config,
            desired_state=DesiredState.RUNNING, status=Status.RUNNING,
        )
        for n in range(PORTFOLIOS)
    ]  # fmt: skip
    Portfolio.objects.bulk_create(rows, 500)
    state = Kernel("p", parse(config, "cn"), rules_for("cn"), to_units(1_000_000)).snapshot()
    now = datetime.now(UTC)
    nodes = [f"node-{n:04d}" for n in range(NODES)]
    Assignment.objects.bulk_create(
        [Assignment(portfolio=row, node_id=nodes[n % NODES], epoch=1) for n, row in enumerate(rows)], 500
    )
    Checkpoint.objects.bulk_create([Checkpoint(portfolio=row, epoch=1, state=state, saved_at=now) for row in rows], 500)
    Node.objects.bulk_create([Node(node_id=node_id, state="online", max_portfolios=20) for node_id in nodes])
    Plan.objects.create(placements={row.id: [nodes[n % NODES], 1] for n, row in enumerate(rows)}, node_count=NODES)
    pipe = livestate.client(timeout=30.0).pipeline(transaction=False)
    for node_id in nodes:
        pipe.set(livestate.heartbeat_key(node_id), now.isoformat(), ex=600)
        pipe.hset(livestate.node_info_key(node_id), mapping={"state": "running", "instance": "i", "max_portfolios": 20})
        pipe.hset(livestate.metrics_key(node_id), mapping=_METRICS)
    figures: dict[Any, Any] = {"cash": "1", "total_value": "2", "position_count": 3, "version": 1}
    figures["updated_at"] = datetime.now(UTC).isoformat()
    for number, row in enumerate(rows):
        if number % 10:
            pipe.hset(livestate.state_key(row.id), mapping=figures)
    pipe.execute()


_MEASURED = ("portfolio_count", "queue_size", "cpu_usage", "memory_usage", "total_events", "threads", "uptime")
_METRICS: dict[Any, Any] = dict.fromkeys(_MEASURED, 1)
