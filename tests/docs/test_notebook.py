"""docs/notebook.md, cell by cell: in a Python of its own, inside a running event loop as in a notebook."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ginkgo_site.config import PROJECT
from tests.docs.snippets import blocks

# What a platform that runs would have done meanwhile: two fills and two samples of equity.
_MEANWHILE = """
from datetime import UTC, datetime, timedelta
from market.history.schema import TABLES
from market.history.store import Store
from market.models import Fill, Order
from ginkgo_site import addresses
from django.conf import settings

now = datetime(2026, 3, 2, 7, tzinfo=UTC)
for n, direction in enumerate((1, -1)):
    order = Order.objects.create(
        order_id=f"order-{n}", portfolio_id=mine.id, epoch=1, code="600519.SH", direction=direction,
        order_type="market", volume=100, cause=f"t:0:{n}:0", event_time=now + timedelta(days=n),
        received_at=now, state="filled", filled_volume=100,
    )
    Fill.objects.create(
        fill_id=f"fill-{n}", broker="simulation", order=order, portfolio_id=mine.id, code="600519.SH",
        direction=direction, volume=100, price=Decimal(1500 + n), amount=Decimal(150_000), commission=45, tax=1,
        event_time=now + timedelta(days=n),
    )
history = Store(addresses.resolve(settings.GINKGO).history, {name: 3650 for name in TABLES})
micros = lambda at: int(at.timestamp() * 1_000_000)
history.insert("equity", [
    (mine.id, micros(now + timedelta(days=n)), 900_000.0, 0.0, 1_000_000.0 + 1000 * n, 1, micros(now)) for n in (0, 1)
])
"""
_CHECKS = """
assert list(orders.state) == ["filled", "filled"] and orders.price.isna().all()
assert fills.price.tolist() == [1500.0, 1501.0] and fills.commission.sum() == 90
assert list(holds.columns) == list(notebook.POSITION_COLUMNS) and holds.empty
assert daily.tolist() == [1_000_000.0, 1_001_000.0]
assert len(value) == result.days.__len__() > 700 and len(traded) == len(result.fills) > 10
assert status["status"] == "created" and status["total_value"] == Decimal(1_000_000)
"""


def script() -> str:
    """All cells in their order; the platform's own doings come before the first look at what it did."""
    cells = blocks("notebook.md", "python")
    looks = next(n for n, cell in enumerate(cells) if "notebook.orders" in cell)
    admin = "from django.contrib.auth.models import User\nUser.objects.create_superuser('admin')\n"
    ours = [cells[0], admin, *cells[1:looks], _MEANWHILE, *cells[looks:], _CHECKS]
    return "\n".join(ours)


def test_every_cell_runs_inside_an_event_loop(tmp_path: Path) -> None:
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST"))}
    where = {**shell, "GINKGO_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=where, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    made = python("-m", "ginkgo_site.cli", "migrate", "--verbosity", "0")
    assert made.returncode == 0, made.stderr
    cell = "async def cell():\n    exec(open('cells.py').read(), {'__name__': '__main__'})\n"
    (tmp_path / "cells.py").write_text(script())
    done = python("-c", f"import asyncio\n{cell}asyncio.run(cell())")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "strategy.params.short_period must be smaller than long_period" in done.stdout


def test_without_connecting_django_refuses_inside_an_event_loop() -> None:
    from django.core.exceptions import SynchronousOnlyOperation

    from portfolios.models import Portfolio

    async def cell() -> None:
        Portfolio.objects.exists()

    with pytest.raises(SynchronousOnlyOperation):
        asyncio.run(cell())
