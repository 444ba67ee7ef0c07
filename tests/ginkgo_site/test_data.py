"""`ginkgo data`: an installation made ready, twice."""

from __future__ import annotations

import json
import sqlite3

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User

from ginkgo_site.installation.initialise import first_admin
from ginkgo_site.installation.seed import CODES, SAMPLES, seed
from market.topics import TOPICS
from portfolios import services
from portfolios.errors import Conflict
from portfolios.models import Portfolio
from tests.support.stack import RunningStack


@pytest.mark.servers
def test_init_and_seed_can_be_repeated_and_tell_the_password_once(stack: RunningStack) -> None:
    first = json.loads(stack.run("data", "init", "--json").stdout)
    again = json.loads(stack.run("data", "init", "--json").stdout)

    assert set(again["topics"]) == {topic.name for topic in TOPICS}
    assert set(again["topics"].values()) == {"exists"}
    assert again["migrations"] == 0
    assert again["admin"] == {"user": "admin", "password": None, "created": False}
    if first["admin"]["created"]:  # another test may have been here before
        assert len(first["admin"]["password"]) >= 16
        kept = _everything_in(stack)
        assert first["admin"]["password"] not in kept

    seeded = [json.loads(stack.run("data", "seed", "--json").stdout) for _ in range(2)]
    assert [p["id"] for p in seeded[0]] == [p["id"] for p in seeded[1]]
    assert not any(p["created"] for p in seeded[1])


@pytest.mark.django_db
def test_the_generated_password_opens_the_door() -> None:
    admin = first_admin()
    assert admin.created and admin.password is not None
    assert authenticate(username="admin", password=admin.password) == User.objects.get()
    assert admin.password not in repr(admin)
    assert first_admin().password is None


@pytest.mark.django_db
def test_an_admin_of_another_name_is_the_first_admin() -> None:
    User.objects.create_superuser("root", password="x")
    assert (first_admin().user, first_admin().created) == ("root", False)


@pytest.mark.django_db
def test_a_user_called_admin_without_rights_is_not_made_one() -> None:
    User.objects.create_user("admin", password="x")
    with pytest.raises(Conflict, match="ginkgo createsuperuser"):
        first_admin()


@pytest.mark.django_db
def test_the_samples_are_different_and_wanted_running() -> None:
    first_admin()
    made = [portfolio for portfolio, created in seed() if created]
    assert [portfolio.name for portfolio in made] == [sample.name for sample in SAMPLES]
    assert {portfolio.desired_state for portfolio in made} == {"running"}
    assert len({json.dumps(portfolio.config["strategy"]) for portfolio in made}) == len(made)
    assert {code for portfolio in made for code in portfolio.config["codes"]} == set(CODES)


@pytest.mark.django_db
def test_what_the_owner_has_changed_in_a_sample_stays() -> None:
    first_admin()
    (first, _), *_ = seed()
    services.stop(first.id)
    seed()
    assert services.get(first.id).desired_state == "stopped"
    assert Portfolio.objects.count() == len(SAMPLES)


def _everything_in(stack: RunningStack) -> str:
    database = stack.home / "ginkgo.sqlite3"
    if not database.exists():
        return ""
    with sqlite3.connect(database) as connection:
        return "\n".join(connection.iterdump())
