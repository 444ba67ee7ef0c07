"""Every page of the admin as a browser shows it: nothing to complain of, nothing beyond the edge, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django.live_server_helper import LiveServer

from market.models import EngineSwitch
from portfolios.models import Portfolio, Revision
from scheduler import beat_seed
from scheduler.models import Node, Plan
from tests.api import world
from tests.ginkgo_site import books
from tests.support import chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(chromium.PATH is None, reason="needs a Chromium"),
    pytest.mark.usefixtures("redis_away"),
]


@pytest.fixture
def browser(live_server: LiveServer, tmp_path: Path) -> Iterator[tuple[chromium.Browser, str]]:
    owner = books.administrator()
    books.all_of_it(portfolios=2, orders_each=3)
    world.populated(owner)
    Plan.objects.create(placements={}, moves=[{"kind": "place"}], unplaced={})
    EngineSwitch.objects.get_or_create(pk=1, defaults={"on": True})
    beat_seed.seed()
    client = Client()
    client.force_login(owner)
    with chromium.browser(tmp_path) as opened:
        opened.cookie(live_server.url, settings.SESSION_COOKIE_NAME, client.cookies["sessionid"].value)
        yield opened, live_server.url


def pages(user: User) -> Iterator[str]:
    """Each list, a row of each, each form for a new one, and the pages that ask."""
    asking = RequestFactory().get("/")
    asking.user = user
    yield reverse("admin:index")
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        row = model._default_manager.first() if model._meta.managed else None
        if row is not None:
            yield reverse(f"{name}_change", args=[row.pk])
        if page.has_add_permission(asking):
            yield reverse(f"{name}_add")
    portfolio: Any = Portfolio.objects.first()
    for button in ("start_it", "stop_it", "reload_it", "migrate_it"):
        yield reverse(f"admin:portfolios_portfolio_{button}", args=[portfolio.pk])
    revision: Any = Revision.objects.first()
    yield reverse("admin:portfolios_revision_restore", args=[revision.pk])
    for button in ("turn_off", "turn_on"):
        yield reverse(f"admin:market_engineswitch_{button}", args=[1])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)], ids=["wide and light", "narrow and dark"])
def test_no_page_complains_or_runs_over_its_edge(browser: tuple[chromium.Browser, str], width: int, dark: bool) -> None:
    opened, url = browser
    opened.look(width, dark=dark)
    found = {}
    asked = list(pages(books.administrator()))
    for each in asked:
        complaints = list(opened.open(url + each))
        if (over := opened.sideways()) > 0:
            complaints.append(f"{over} pixels beyond the edge")
        if not opened.run("document.title.includes('Ginkgo') && !document.title.includes('Log in')"):
            complaints.append("is another page")
        if complaints:
            found[each] = complaints
    assert len(asked) > 60 and Node.objects.exists()
    assert found == {}


@pytest.mark.django_db(transaction=True)
def test_a_page_that_fails_would_be_noticed(browser: tuple[chromium.Browser, str]) -> None:
    opened, url = browser
    opened.look(1440)
    assert any("404" in each for each in opened.open(f"{url}/admin/nothing/"))
    opened.open(url + reverse("admin:index"))
    opened.run("setTimeout(() => { throw new Error('odd') }) && new Promise(done => setTimeout(done, 50))")
    assert any("odd" in each for each in opened.complaints)


@pytest.mark.django_db(transaction=True)
def test_the_form_writes_what_is_chosen_into_the_document(browser: tuple[chromium.Browser, str]) -> None:
    opened, url = browser
    opened.look(1440)
    portfolio: Any = Portfolio.objects.first()
    opened.open(url + reverse("admin:portfolios_portfolio_change", args=[portfolio.pk]))
    opened.press("""(() => {
        const input = document.querySelector('[data-param=long_period]');
        input.value = 9;
        input.dispatchEvent(new Event('change'));
        document.querySelector('[name=_save]').click();
    })()""")
    portfolio.refresh_from_db()
    assert (portfolio.version, portfolio.config["strategy"]["params"]["long_period"]) == (2, 9)
