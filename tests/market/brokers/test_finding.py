"""The broker that the configuration asks for: built in, by path, by entry point, or one line that says why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from market import brokers
from market.brokers import UnknownBroker, make_broker
from market.brokers.port import Broker
from market.brokers.simulation import SimulatedBroker
from tests.docs.snippets import type_in
from tests.market.desk_support import Alerts

OPTIONS = {"path": "book.sqlite", "cash": 5}


@pytest.fixture(autouse=True)
def typed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    type_in("writing-a-broker.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_broker", "toy_exchange", "mine"):
        sys.modules.pop(name, None)


def announce(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    found = [EntryPoint(name, value, brokers.ENTRY_POINT_GROUP) for name, value in points.items()]
    monkeypatch.setattr(brokers, "entry_points", lambda group: found if group == brokers.ENTRY_POINT_GROUP else [])


def test_the_simulated_one_is_built_in_under_any_name():
    assert isinstance(make_broker("simulation", {}, Alerts()), SimulatedBroker)
    assert make_broker("paper", {"type": "simulation"}, Alerts()).name == "paper"


def test_one_of_ones_own_is_found_by_its_path_and_gets_its_name_and_options():
    found = make_broker("toy", {"type": "my_broker:MyBroker", **OPTIONS}, Alerts())
    assert (type(found).__name__, found.name, found._path) == ("MyBroker", "toy", "book.sqlite")
    assert make_broker("my_broker:MyBroker", OPTIONS, Alerts()).name == "my_broker:MyBroker"


def test_an_installed_one_is_found_by_the_name_it_announces(monkeypatch):
    announce(monkeypatch, toy="my_broker:MyBroker")
    assert type(make_broker("toy", OPTIONS, Alerts())).__name__ == "MyBroker"
    assert make_broker("mine", {"type": "toy", **OPTIONS}, Alerts()).name == "mine"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("moon", "", r"no broker of type 'moon' \(there is: simulation, toy, or my_module:MyBroker\)"),
        ("no_such_module:MyBroker", "", "cannot load 'no_such_module:MyBroker': ModuleNotFoundError"),
        ("mine:MyBroker", "", "cannot load 'mine:MyBroker': AttributeError"),
        ("mine:MyBroker", "raise RuntimeError('on\\nimport')", "cannot load 'mine:MyBroker': RuntimeError: on import$"),
        ("mine:MyBroker", "class MyBroker:\n    def start(self): ...", "it lacks stop, dead_thread, submit, cancel"),
        ("my_broker:MyBroker", "", "cannot make 'my_broker:MyBroker': KeyError: 'path'"),
        ("simulation", "", "cannot make 'simulation': ValueError: commission_rate: must be at least 0"),
    ],
)
def test_what_cannot_be_had_says_why_in_one_line(monkeypatch, typed_in, kind, text, said):
    announce(monkeypatch, toy="my_broker:MyBroker")
    (typed_in / "mine.py").write_text(text)
    with pytest.raises(UnknownBroker, match=said) as raised:
        make_broker("toy", {"type": kind, "commission_rate": 3}, Alerts())
    assert "\n" not in str(raised.value)


def test_a_name_that_does_not_fit_into_the_books_is_refused():
    with pytest.raises(UnknownBroker, match="more than 40 characters: give it a short name under 'brokers:'"):
        make_broker("my_company.trading.brokers.paper:PaperBroker", {}, Alerts())


def test_the_methods_looked_for_are_those_of_the_port():
    assert {name for name in vars(Broker) if callable(getattr(Broker, name)) and name[0] != "_"} == {*brokers._METHODS}
