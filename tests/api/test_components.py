"""A dotted path imports whatever it names: through the API only what this installation allows is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from ginkgo_site.config import Config, ConfigurationError, load
from portfolios import services
from portfolios.kernel import registry
from portfolios.models import Portfolio
from tests.api import callers
from tests.api.callers import Caller
from tests.ginkgo_site import books
from tests.support.components import RECORDER

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

MODULE = "imported_by_the_api"
CODE = """
import pathlib
pathlib.Path(__file__).with_suffix(".ran").touch()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that leaves a trace when it is imported; the path of the trace."""
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / f"{MODULE}.ran"
    sys.modules.pop(MODULE, None)
    registry._load.cache_clear()


@pytest.fixture
def owner() -> User:
    return callers.user("owner", is_superuser=True, is_staff=True)


@pytest.fixture
def api(owner: User) -> Caller:
    return callers.by_token(owner)


def config(**parts: Any) -> dict[str, Any]:
    return {**books.SAMPLES[0].config(), **parts}


NAMES = [f"{MODULE}:Strategy", f"{MODULE}.Strategy", "os.system", "subprocess:Popen", "portfolios.kernel.registry:find"]
PLACES = {
    "strategy": lambda name: config(strategy={"name": name}),
    "risk_managements[0]": lambda name: config(risk_managements=[{"name": name}]),
    "sizer": lambda name: config(sizer={"name": name}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_imported_by_any_way_in(api: Caller, owner: User, module: Path, place: str, name: str) -> None:
    made = services.create("Mine", owner, "cn", 1000, config())
    wanted = PLACES[place](name)
    document = services.export_portfolio(made.id)
    document["portfolio"]["config"] = wanted
    paths = {
        "config": [
            api.post("/api/portfolio", {"name": "x", "initial_cash": 1, "config": wanted}),
            api("PUT", f"/api/portfolio/{made.id}", {"config": wanted}),
            api("PATCH", f"/api/portfolio/{made.id}", {"config": wanted}),
        ],
        "portfolio.config": [
            api.post("/api/portfolio/import", document),
            api.post(f"/api/portfolio/import?portfolio_id={made.id}", document),
        ],
    }
    for answers in paths.values():
        for answer in answers:
            assert answer.status_code == 400
            assert any(fault["path"].endswith(f"{place}.name") for fault in answer.json()["details"]["faults"])
    assert not module.exists()
    assert Portfolio.objects.count() == 1


def test_the_trace_would_be_there_if_it_were_imported(module: Path) -> None:
    with pytest.raises(registry.UnknownComponent):
        registry.find(f"{MODULE}:Strategy")
    assert module.exists()


def allowing(settings: Settings, *prefixes: str) -> None:
    given: Config = settings.GINKGO
    settings.GINKGO = given.model_copy(update={"api": given.api.model_copy(update={"components": prefixes})})


@pytest.mark.parametrize("prefix", ["tests.support.components", "tests.support", "tests"])
def test_what_the_configuration_allows_can_be_named(api: Caller, settings: Settings, prefix: str) -> None:
    allowing(settings, prefix)
    wish = {"name": "x", "initial_cash": 1, "config": config(strategy={"name": RECORDER})}
    answer = api.post("/api/portfolio", wish)
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize("prefix", ["tests.supp", "test", "tests.support.components_more"])
def test_part_of_a_modules_name_allows_nothing(api: Caller, settings: Settings, prefix: str) -> None:
    allowing(settings, prefix)
    wish = {"name": "x", "initial_cash": 1, "config": config(strategy={"name": RECORDER})}
    assert api.post("/api/portfolio", wish).status_code == 400


def test_what_a_portfolio_has_already_it_may_keep(api: Caller, owner: User) -> None:
    made = services.create("Mine", owner, "cn", 1000, config(strategy={"name": RECORDER}))
    assert api("PATCH", f"/api/portfolio/{made.id}", {"config": {"policy": {"bar": "1d"}}}).status_code == 200


@pytest.mark.parametrize("text", ["", "os;import", "a..b", "a.b:c"])
def test_a_prefix_that_is_no_module_is_an_error_of_the_configuration(text: str) -> None:
    if text == "":
        assert load({"api.components": ""}, {})[0].api.components == ()
        return
    with pytest.raises(ConfigurationError, match=r"api\.components"):
        load({"api.components": [text]}, {})
