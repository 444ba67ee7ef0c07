from __future__ import annotations

from datetime import timedelta

from alerts import digest
from tests.alerts.making import NOON, alert


def test_what_keeps_coming_is_one_entry_with_its_count_its_times_and_its_newest_message() -> None:
    first = [alert(at=NOON + timedelta(seconds=s), message=f"at {s}") for s in (5, 9, 1)]
    kinds = digest.added([], first)
    kinds = digest.added(kinds, [alert(at=NOON + timedelta(seconds=30), message="at 30")])
    (kind,) = kinds
    assert (kind["count"], kind["message"]) == (4, "at 30")
    assert kind["first"] == (NOON + timedelta(seconds=1)).isoformat()
    assert kind["last"] == (NOON + timedelta(seconds=30)).isoformat()


def test_another_type_source_severity_or_portfolio_is_another_entry() -> None:
    given = [
        alert(), alert("data_gap"), alert(source="node-2"), alert(severity="critical"), alert(portfolio_id="p1"),
    ]  # fmt: skip
    assert [kind["count"] for kind in digest.added([], given)] == [1] * 5


def test_the_worst_and_of_those_the_rarest_comes_first() -> None:
    given = [
        *(alert(severity="critical") for _ in range(300)),
        alert("info_only", severity="info"),
        alert("node_offline", source="scheduler", severity="critical", message="node-2 is silent"),
    ]
    kinds = digest.added([], given)
    assert digest.title(kinds) == "[critical] node_offline: scheduler (+301)"
    lines = digest.body(kinds).splitlines()
    assert lines[0] == "[critical] node_offline: scheduler - 2026-03-02 12:00:00 UTC"
    assert lines[1] == "    node-2 is silent"
    assert "300 times from 2026-03-02 12:00:00 to 2026-03-02 12:00:00 UTC" in lines[2]
    assert "info_only" in lines[4]


def test_a_digest_stays_bounded_and_says_what_it_leaves_out() -> None:
    kinds = digest.added([], [alert(f"type_{n}") for n in range(1000)])
    assert len(kinds) == digest.MOST_KINDS + 1
    assert sum(kind["count"] for kind in kinds) == 1000
    assert digest.body(kinds).splitlines()[-1] == "… and 151 more kinds: see 'ginkgo alerts list'"


def test_one_alert_is_told_in_one_line() -> None:
    assert digest.title(digest.added([], [alert()])) == "[warning] queue_full: node-1"


def test_the_portfolio_of_an_alert_is_a_text_or_none() -> None:
    assert digest.portfolio_of(alert(portfolio_id="p1")) == "p1"
    assert digest.portfolio_of(alert(portfolio_id=["p1"])) == ""
    assert digest.portfolio_of(alert()) == ""
