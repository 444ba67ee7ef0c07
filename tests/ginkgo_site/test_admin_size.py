"""The admin with ten thousand portfolios and a thousand nodes: no page asks the database more than ten times."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from market.models import EngineSwitch
from portfolios.models import Account, Assignment, Checkpoint, Portfolio, Revision
from scheduler.models import Node
from tests.ginkgo_site import books

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("redis_away")]

PORTFOLIOS, NODES, MOST = 10_000, 1_000, 10


@pytest.fixture
def first(db: None) -> Portfolio:
    owner = books.administrator()
    made = books.all_of_it(portfolios=1, orders_each=3)[0]
    EngineSwitch.objects.get_or_create(pk=1, defaults={"on": True})
    account, state = Account.paper(owner, "cn"), made.checkpoint.state
    rows = [
        Portfolio(name=f"P{n}", owner=owner, account=account, initial_cash=1, config=made.config, status="running")
        for n in range(PORTFOLIOS)
    ]
    Portfolio.objects.bulk_create(rows, batch_size=1000)
    Assignment.objects.bulk_create(
        [Assignment(portfolio=row, node_id=f"n{n % NODES}") for n, row in enumerate(rows)], batch_size=1000
    )
    Checkpoint.objects.bulk_create(
        [Checkpoint(portfolio=row, state=state, saved_at=books.NOW) for row in rows], batch_size=500
    )
    Revision.objects.bulk_create(
        [Revision(portfolio=row, version=1, config=row.config) for row in rows], batch_size=1000
    )
    Node.objects.bulk_create([Node(node_id=f"n{n}", state="online") for n in range(NODES)])
    return made


@pytest.mark.parametrize("who", ["administrator", "operator"])
def test_no_page_asks_more_than_ten_times(first: Portfolio, who: str) -> None:
    user = books.administrator()
    if who == "operator":
        user = User.objects.create_user("an-operator", is_staff=True)
        user.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(user)
    pages = [reverse("admin:index"), reverse("admin:portfolios_portfolio_change", args=[first.pk])]
    pages.append(reverse("admin:scheduler_node_change", args=["n7"]))
    pages += [reverse(f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist") for m in admin.site._registry]
    found = {}
    for page in pages:
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(page)
        if answer.status_code == 403 and who == "operator":
            continue
        assert answer.status_code in (200, 302), page
        if len(queries) > MOST:
            found[page] = [query["sql"][:150] for query in queries]
    assert not found, "\n".join(f"{page}: {len(asked)}\n" + "\n".join(asked) for page, asked in found.items())
