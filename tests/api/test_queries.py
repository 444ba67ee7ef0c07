"""Every read asks the database three times at most, whoever asks and however many rows there are."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from alerts.models import Channel, Notification, Rule
from market.models import Fill, Mismatch, Order
from portfolios.models import Account, Adjustment, Assignment, Checkpoint, Command, Portfolio, Revision
from portfolios.models.fields import new_id
from scheduler.models import Node, Plan
from tests.api import callers, world
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

# They count for Prometheus, and for whoever asks whether the platform lives: not lists, and their own tests bound them.
OVERVIEWS = {"metrics", "health"}


def many(owner: User, number: int) -> tuple[Portfolio, Command]:
    """`number` portfolios, and of the first as many orders, fills, revisions, commands; as many nodes and plans."""
    first, command = world.populated(owner)
    config, account = first.config, Account.paper(owner, "cn")
    rows = [Portfolio(name=f"P{n}", owner=owner, account=account, initial_cash=1, config=config) for n in range(number)]
    Portfolio.objects.bulk_create(rows)
    state = Checkpoint.objects.get(portfolio=first).state
    Assignment.objects.bulk_create([Assignment(portfolio=row, node_id=world.NODE) for row in rows])
    Checkpoint.objects.bulk_create([Checkpoint(portfolio=row, state=state, saved_at=books.NOW) for row in rows])
    Revision.objects.bulk_create([Revision(portfolio=first, version=n + 2, config=config) for n in range(number)])
    Command.objects.bulk_create([Command(command_type="portfolio.start", target_id=first.id) for _ in range(number)])
    Node.objects.bulk_create([Node(node_id=f"n{n}") for n in range(number)])
    moves = [{"portfolio_id": row.id, "source": "", "target": "n1", "kind": "place", "reason": ""} for row in rows]
    Plan.objects.bulk_create([Plan(moves=moves[:3], unplaced={rows[0].id: "no room"}) for _ in range(number)])
    example = Order.objects.filter(portfolio=first)[0]
    for n in range(number):
        example.pk, example.received_at = new_id(), books.NOW + timedelta(hours=n)
        example.save(force_insert=True)
    fill = {"order": example, "portfolio": first, "code": "600519.SH", "direction": 1, "volume": 100}
    money = {name: Decimal(1) for name in ("price", "amount", "commission", "tax")}
    Fill.objects.bulk_create(
        [Fill(fill_id=new_id(), broker="b", event_time=books.NOW, **fill, **money) for _ in range(number)]
    )
    gap = {"scope": "account", "kind": "cash", "state": "resolved", "expected": 1, "actual": 2, "account": account}
    Mismatch.objects.bulk_create([Mismatch(found_at=books.NOW, seen_at=books.NOW, **gap) for _ in range(number)])
    Adjustment.objects.bulk_create(
        [Adjustment(portfolio=first, kind="deposit", amount=1, reason="a gift", author=owner) for _ in range(number)]
    )
    ways = Channel.objects.bulk_create(
        [Channel(user=owner, name=f"c{n}", secret="x", shown="…") for n in range(number)]
    )
    wishes = Rule.objects.bulk_create([Rule(user=owner, name=f"r{n}") for n in range(number)])
    through = Rule.channels.through
    through.objects.bulk_create([through(rule=r, channel=c) for r, c in zip(wishes, ways, strict=True)])
    told = {"user": owner, "channel_name": "c", "severity": "info", "created_at": books.NOW}
    Notification.objects.bulk_create([Notification(rule=rule, **told) for rule in wishes])
    return first, command


@pytest.mark.parametrize("number", [5, 500])
@pytest.mark.parametrize("rights", [{}, {"is_staff": True}], ids=["an owner", "staff"])
def test_a_read_takes_three_queries_however_many_rows(rights: dict[str, bool], number: int) -> None:
    owner = callers.user("owner", **rights)
    things = many(owner, number)
    reads = [r for r in world.requests(*things) if (r.method, r.scope) == ("GET", "read")]
    asked = [r for r in reads if r.operation not in OVERVIEWS]
    assert len(asked) >= 18
    for caller in (callers.by_token(owner), callers.by_key(owner)):
        for request in asked:
            path = request.path + ("?limit=1000" if takes_pages(request) else "")
            path += "?state=true" if request.operation == "portfolio_export" else ""
            with CaptureQueriesContext(connection) as queries:
                answer = caller.get(path)
            assert answer.status_code == 200 or request.operation == "alert_list", (request.operation, answer.content)
            assert len(queries) <= 3, (request.operation, [query["sql"][:200] for query in queries])
            if takes_pages(request) and answer.status_code == 200 and request.operation != "alert_list":
                found = answer.json()
                assert len(found.get("results", found.get("portfolios"))) == found["count"] >= number, request.operation


def takes_pages(request: world.Request) -> bool:
    parameters = world.description()["paths"][request.template]["get"].get("parameters", ())
    return {"limit", "offset"} <= {parameter["name"] for parameter in parameters}


@pytest.mark.parametrize("path", ["/api/health", "/metrics"])
def test_an_overview_takes_as_many_queries_for_many_as_for_few(path: str) -> None:
    assert _overview(path, 5) == _overview(path, 100) <= 30


def _overview(path: str, number: int) -> int:
    from ginkgo_site.api import health

    health._LATEST._at = float("-inf")
    with transaction.atomic():
        owner = callers.user("owner", is_staff=True)
        many(owner, number)
        caller = callers.by_key(owner)
        with CaptureQueriesContext(connection) as queries:
            assert caller.get(path).status_code in (200, 503)
        transaction.set_rollback(True)
    return len(queries)
