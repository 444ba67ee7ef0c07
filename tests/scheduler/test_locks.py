"""A process frozen inside a transaction: only on MySQL, where it holds one row and not the whole database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.db import connection

from portfolios import connections
from portfolios.models import Assignment, ServerConnection
from scheduler import cycle, handover
from tests.scheduler.conftest import Herd, owner_of

Make = Callable[..., str]

pytestmark = [
    pytest.mark.servers,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "mysql" not in settings.DATABASES["default"]["ENGINE"], reason="needs a MySQL: make test-servers gives one"
    ),
]

HOLDER = """
import sys
import django
from django.conf import settings
django.setup()
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from django.db import connection, transaction
from portfolios import connections
connections.register_as(sys.argv[2], sys.argv[3])
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("UPDATE portfolios_assignment SET reason = 'frozen' WHERE portfolio_id = %s", [sys.argv[4]])
    cursor.execute("UPDATE portfolios_checkpoint SET pseq = 99 WHERE portfolio_id = %s", [sys.argv[4]])
    print("locked", flush=True)
    sys.stdin.readline()
print("committed", flush=True)
"""


@contextmanager
def frozen(node_id: str, instance: str, portfolio_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process under this node's name, stopped in the middle of a transaction that holds the portfolio's rows."""
    name = str(connection.settings_dict["NAME"])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name, node_id, instance, portfolio_id],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "ginkgo_site.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "locked\n", process.communicate()[1]
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_frozen_in_a_transaction_is_cut_off_and_blocks_no_successor(
    herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("p1", "p2", "p3"):
        portfolio(name, "dead", 1)
    herd.beat("n1")
    with frozen("dead", "first", "p1") as process:
        assert ServerConnection.objects.get().process == "dead"
        began = time.monotonic()
        cycle.tick()
        assert time.monotonic() - began < 5
        assert {name: owner_of(name).node_id for name in ("p1", "p2", "p3")} == dict.fromkeys(("p1", "p2", "p3"), "n1")
        assert "killed the 1 connections of dead" in caplog.text
        assert not ServerConnection.objects.exists()

        process.send_signal(signal.SIGCONT)
        said, complaint = process.communicate("\n", timeout=30)
    assert "committed" not in said, "woken, it finds its transaction gone"
    assert "OperationalError" in complaint
    assert Assignment.objects.get(portfolio_id="p1").reason != "frozen"


def test_a_scheduler_frozen_in_a_hand_over_is_cut_off_by_the_next(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "dead", 1)
    portfolio("p2")
    herd.beat("n1")
    with frozen(handover.PROCESS, "elsewhere:1", "p1"), frozen(handover.PROCESS, "elsewhere:2", "p2"):
        cycle.tick()
        assert {owner_of(name).node_id for name in ("p1", "p2")} == {"n1"}


def test_a_lock_of_somebody_unknown_costs_the_others_a_second_and_its_portfolio_follows(
    herd: Herd, portfolio: Make
) -> None:
    for name in ("p1", "p2", "p3"):
        portfolio(name, "dead", 1)
    herd.beat("n1")
    stranger = connection.copy()
    stranger.set_autocommit(False)
    try:
        with stranger.cursor() as cursor:
            cursor.execute("UPDATE portfolios_assignment SET reason = 'frozen' WHERE portfolio_id = 'p1'")
        began = time.monotonic()
        cycle.tick()
        assert time.monotonic() - began < 4
        assert sorted(Assignment.objects.filter(node_id="n1").values_list("pk", flat=True)) == ["p2", "p3"]
    finally:
        stranger.rollback()
        stranger.close()
    cycle.check()
    assert owner_of("p1").node_id == "n1"


def test_a_nodes_next_process_cuts_off_the_one_before_it_and_not_itself(portfolio: Make) -> None:
    portfolio("p1", "n1", 1)
    with frozen("n1", "first", "p1"):
        assert connections.kill("n1", but="first") == 0
        assert connections.kill("n1", but="second") == 1
        Assignment.objects.filter(portfolio_id="p1").update(reason="free")
    assert Assignment.objects.get().reason == "free"


def test_connections_that_are_no_more_are_forgotten_and_a_number_given_again_is_nobodys(portfolio: Make) -> None:
    portfolio("p1", "n1", 1)
    with frozen("n1", "first", "p1"):
        row = ServerConnection.objects.get()
        ServerConnection.objects.create(connection_id=2**40, process="n2", instance="i", address="10.0.0.9:1")
        connections.prune()
        assert list(ServerConnection.objects.values_list("pk", flat=True)) == [row.pk]
        ServerConnection.objects.update(address="10.0.0.9:1")
        assert connections.kill("n1") == 0
