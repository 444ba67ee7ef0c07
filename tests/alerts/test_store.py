"""The store on a real server of MongoDB's protocol: each alert once, episodes, questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from alerts import queries
from alerts.errors import StoreAway
from alerts.queries import Question, ask
from alerts.store import KEPT, AlertStore
from ginkgo_site.addresses import resolve
from market.messages import Alert
from tests.alerts import making
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TODAY = datetime.now(UTC)
"""When they are stored; what was stored long ago has expired."""


@pytest.fixture
def store(stack: RunningStack) -> Iterator[AlertStore]:
    made = AlertStore()
    yield made
    made.close()


@pytest.fixture
def source() -> str:
    """One of this test's own: the server is shared."""
    return f"store-{uuid4().hex[:8]}"


def ten(source: str, start: float = 0, **values: Any) -> list[Alert]:
    return [making.alert(source=source, at=NOW + timedelta(seconds=start + n), **values) for n in range(10)]


def test_each_alert_is_stored_once_and_found_by_its_id(store: AlertStore, source: str) -> None:
    alerts = ten(source)
    assert store.add(alerts, TODAY) == 10
    assert store.add([*alerts[5:], *ten(source, 20), alerts[0]], TODAY) == 10
    assert ask(store, Question(source=source, each=True)).total_count == 20
    found = queries.one(store, alerts[3].alert_id)
    assert found is not None
    assert (found["message"], found["timestamp"]) == (alerts[3].message, alerts[3].timestamp)
    assert queries.one(store, "nothing") is None


def test_what_keeps_coming_is_one_entry_with_count_first_and_last(store: AlertStore, source: str) -> None:
    store.add(ten(source), TODAY)
    store.add(ten(source, 300), TODAY)
    (entry,) = ask(store, Question(source=source)).alerts
    assert (entry["count"], entry["first_seen"], entry["last_seen"]) == (20, NOW, NOW + timedelta(seconds=309))
    assert entry["timestamp"] == entry["last_seen"]


def test_after_a_pause_of_ten_minutes_it_is_another_episode(store: AlertStore, source: str) -> None:
    store.add([*ten(source), *ten(source, 700)], TODAY)
    newer, older = ask(store, Question(source=source)).alerts
    assert (newer["count"], older["count"]) == (10, 10)
    assert newer["episode"] != older["episode"]
    in_it = ask(store, Question(episode=older["episode"]))
    assert in_it.total_count == 10
    assert {each["episode"] for each in in_it.alerts} == {older["episode"]}


def test_another_type_severity_or_portfolio_is_another_entry(store: AlertStore, source: str) -> None:
    for values in ({}, {"alert_type": "data_gap"}, {"severity": "critical"}, {"portfolio_id": "p1"}):
        store.add(ten(source, **values), TODAY)
    answer = ask(store, Question(source=source))
    assert answer.total_count == 4
    assert {each["count"] for each in answer.alerts} == {10}


@pytest.mark.parametrize("cut", ["_write", "_insert", "_count"])
def test_cut_off_anywhere_the_repetition_makes_it_whole(
    store: AlertStore, source: str, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(ten(source), TODAY)
    more = ten(source, 20)
    with monkeypatch.context() as broken:
        broken.setattr(f"alerts.store.{cut}", _away)
        with pytest.raises(StoreAway):
            store.add(more, TODAY)
    store.add(more, TODAY)
    (entry,) = ask(store, Question(source=source)).alerts
    assert (entry["count"], entry["last_seen"]) == (20, NOW + timedelta(seconds=29))
    assert ask(store, Question(source=source, each=True)).total_count == 20


def test_a_question_about_a_time_gets_alerts_of_that_time(store: AlertStore, source: str) -> None:
    store.add([*ten(source), *ten(source, severity="critical"), *ten(source, 700)], TODAY)
    start, end = NOW + timedelta(seconds=2), NOW + timedelta(seconds=5)
    for each in (True, False):
        answer = ask(store, Question(source=source, start=start, end=end, each=each))
        assert answer.total_count == (8 if each else 2)
        assert all(start <= found["timestamp"] <= end for found in answer.alerts)
    assert {found["timestamp"] for found in answer.alerts} == {end}
    assert {found["count"] for found in answer.alerts} == {10}  # the episode's own
    assert ask(store, Question(source=source, start=NOW + timedelta(hours=1))).total_count == 0
    assert ask(store, Question(source=source, start=NOW + timedelta(seconds=600))).total_count == 1


def test_pages_are_the_newest_first_and_leave_nothing_out(store: AlertStore, source: str) -> None:
    store.add(ten(source), TODAY)
    pages = [ask(store, Question(source=source, each=True, limit=4, offset=offset)) for offset in (0, 4, 8)]
    times = [found["timestamp"] for page in pages for found in page.alerts]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 10
    assert {page.total_count for page in pages} == {10}


def test_who_may_see_some_portfolios_sees_nothing_else(store: AlertStore, source: str) -> None:
    mine, theirs = making.alert(source=source, portfolio_id="mine"), making.alert(source=source, portfolio_id="theirs")
    store.add([mine, theirs, making.alert(source=source)], TODAY)
    for each in (True, False):
        answer = ask(store, Question(source=source, portfolios=["mine"], each=each))
        assert [found["alert_id"] for found in answer.alerts] == [mine.alert_id]
    assert ask(store, Question(source=source, portfolios=[])).total_count == 0
    assert queries.one(store, theirs.alert_id, ["mine"]) is None
    assert queries.one(store, theirs.alert_id) is not None


@pytest.mark.parametrize(
    "details",
    [
        {"a.b": 1},
        {"$set": {"x": 1}},
        {"big": 2**70},
        {"zero\0": 1},
        {"list": [{"$x": 1}]},
        {"ok": [1, 2.5, None, True, {"deep": ["er"]}]},
    ],
)
def test_whatever_the_details_are_they_are_stored(store: AlertStore, source: str, details: dict[str, Any]) -> None:
    given = making.alert(source=source, **details)
    store.add([given], TODAY)
    found = queries.one(store, given.alert_id)
    assert found is not None
    assert found["details"] == details or set(found["details"]) == {"json"}


def test_details_nested_beyond_what_mongodb_takes_are_kept_as_text(store: AlertStore, source: str) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    store.add([making.alert(source=source, deep=deep)], TODAY)
    (found,) = ask(store, Question(source=source)).alerts
    assert "[[[1]]]" in found["details"]["json"]


def test_alerts_expire_after_seven_days(store: AlertStore, source: str) -> None:
    store.add([making.alert(source=source)], TODAY)
    store.add([making.alert("data_gap", source=source)], TODAY - timedelta(days=7, minutes=5))
    left = ["queue_full"]
    for each in (True, False):
        # A server of MongoDB's own looks once a minute.
        eventually(partial(_types, store, source, each, left), timeout=90)
    with store.collections() as collections:
        for collection in collections:
            assert KEPT in [index.get("expireAfterSeconds") for index in collection.index_information().values()]


def test_a_place_belongs_to_one_log(store: AlertStore) -> None:
    name = f"reader-{uuid4().hex[:6]}"
    assert store.place(name) == ("", {})
    store.keep_place(name, "log-1", {0: 5, 2: 7})
    assert store.place(name) == ("log-1", {0: 5, 2: 7})
    store.keep_place(name, "log-2", {0: 1})
    assert store.place(name) == ("log-2", {0: 1})


def test_severities_are_counted(store: AlertStore) -> None:
    portfolio, now = uuid4().hex, datetime.now(UTC)
    for severity in ("info", "critical", "critical"):
        store.add([making.alert(severity=severity, at=now, portfolio_id=portfolio)], now)
    assert queries.by_severity(store, now, [portfolio]) == {"info": 1, "warning": 0, "critical": 2}
    assert queries.by_severity(store, now, [portfolio], each=False) == {"info": 1, "warning": 0, "critical": 1}


def test_a_server_that_is_away_is_one_clear_error(settings: Any) -> None:
    nowhere = replace(resolve(settings.GINKGO), mongodb="mongodb://127.0.0.1:1/ginkgo")
    settings.GINKGO_RESOLVE = lambda: nowhere
    store = AlertStore(wait=0.3)
    with pytest.raises(StoreAway, match=r"^MongoDB does not answer: [^\n]{10,}$"):
        store.place("x")
    store.close()


def _types(store: AlertStore, source: str, each: bool, wanted: list[str]) -> bool:
    return [found["alert_type"] for found in ask(store, Question(source=source, each=each)).alerts] == wanted


def _away(*_: Any) -> None:
    raise StoreAway("cut off")
