"""`ginkgo portfolio deposit …`, `ginkgo account …` and what real money asks, called in this process."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from portfolios import livestate, services
from portfolios.models import Adjustment, Assignment, Portfolio
from tests.portfolios.test_configs import GOOD
from tests.support.stack import RunningStack

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def admin() -> User:
    return User.objects.create_superuser("admin", password=None)


@pytest.fixture
def portfolio(admin: User) -> Portfolio:
    return services.create("First", admin, "cn", 1_000_000, GOOD)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def ginkgo(*words: str) -> str:
        call_command(*words)
        return capsys.readouterr().out

    return ginkgo


def refusal(*words: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command(*words)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_a_deposit_and_a_withdrawal_say_what_is_in_the_books(run: Any, portfolio: Portfolio) -> None:
    assert run("portfolio", "deposit", "First", "10000", "--reason", "a bonus") == (
        "First: deposit of 10,000.00 CNY is in the books\n"
    )
    document = json.loads(run("portfolio", "withdraw", "First", "2500.50", "--reason", "rent", "--json"))
    assert (document["kind"], document["state"], document["amount"]) == ("withdrawal", "applied", -2500.5)
    assert (document["author"], document["reason"]) == ("admin", "rent")
    assert json.loads(run("portfolio", "status", "First", "--json"))["cash"] == 1_007_499.5


def test_a_withdrawal_of_too_much_is_one_line(portfolio: Portfolio) -> None:
    told = refusal("portfolio", "withdraw", "First", "1000000.01", "--reason", "r")
    assert told == "withdrawal refused: only 1000000.0000 CNY can be withdrawn"


def test_who_did_it_can_be_told(run: Any, portfolio: Portfolio) -> None:
    User.objects.create_user("clerk")
    run("portfolio", "deposit", "First", "1", "--reason", "r", "--user", "clerk")
    assert Adjustment.objects.get().author.get_username() == "clerk"
    assert "no user 'stranger'" in refusal("portfolio", "deposit", "First", "1", "--reason", "r", "--user", "stranger")


def test_cash_and_positions_are_corrected(run: Any, portfolio: Portfolio) -> None:
    run("portfolio", "correct", "First", "--cash", "-0.5", "--reason", "a fee")
    told = run(
        *("portfolio", "correct", "First", "--code", "600519.SH", "--volume", "300", "--price", "1500.25"),
        *("--reason", "a transfer in kind"),
    )
    assert told == "First: correction of +300 600519.SH is in the books\n"
    run("portfolio", "correct", "First", "--code", "600519.SH", "--volume", "-100", "--reason", "one too many")
    (held,) = json.loads(run("portfolio", "positions", "First", "--json"))
    assert (held["volume"], held["cost_price"]) == (200, 1500.25)
    assert json.loads(run("portfolio", "status", "First", "--json"))["cash"] == 999_999.5


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (("deposit", "First", "0", "--reason", " "), ["amount", "reason"]),
        (("correct", "First", "--reason", "r"), ["--cash"]),
        (("correct", "First", "--cash", "1", "--code", "600519.SH", "--reason", "r"), ["--cash"]),
        (("correct", "First", "--code", "AAPL.US", "--reason", "r"), ["code", "volume"]),
        (("rollback", "First"), ["--to"]),
        (("rollback", "First", "1", "--to", "2"), ["--to"]),
    ],
)
def test_each_fault_is_a_line_on_stderr(
    portfolio: Portfolio, words: tuple[str, ...], paths: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("portfolio", *words)
    assert refused.value.returncode == 2
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == paths
    assert not Adjustment.objects.exists()


def test_of_one_that_runs_it_says_who_will_book_it(run: Any, portfolio: Portfolio) -> None:
    Assignment.objects.update(node_id="node-7")
    told = run("portfolio", "deposit", "First", "5", "--reason", "r", "--wait", "0")
    assert told.startswith("First: deposit of 5.00 CNY is asked for; node-7 books it when it can")


def test_all_of_them_are_listed_within_eighty_columns(run: Any, portfolio: Portfolio) -> None:
    run("portfolio", "deposit", "First", "123456789.12", "--reason", "a rather long reason that has to be folded")
    run("portfolio", "correct", "First", "--code", "600519.SH", "--volume", "1000000", "--price", "1", "--reason", "r")
    refusal("portfolio", "withdraw", "First", "999999999", "--reason", "too much")
    table = run("portfolio", "adjustments", "First")
    assert max(len(line) for line in table.splitlines()) <= 80
    for word in ("deposit", "refused", "admin", "withdrawal", "+123,456,789.12", "600519.SH"):
        assert word in table
    assert [a["state"] for a in json.loads(run("portfolio", "adjustments", "First", "--json"))] == [
        "refused", "applied", "applied",
    ]  # fmt: skip


def test_a_new_one_may_hold_something_already(run: Any, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(GOOD))
    made = run(
        *("portfolio", "create", "--name", "S", "--initial-cash", "1000", "--config", str(tmp_path / "c.json")),
        *("--position", "600519.SH:100@1500.5@2026-01-05", "--position", "000001.SZ:300@10"),
    ).strip()
    held = json.loads(run("portfolio", "positions", made, "--json"))
    assert [(p["code"], p["volume"], p["cost_price"]) for p in held] == [
        ("000001.SZ", 300, 10.0), ("600519.SH", 100, 1500.5),
    ]  # fmt: skip
    assert json.loads(run("portfolio", "adjustments", made, "--json"))[1]["held_since"] == "2026-01-05"


def test_versions_are_compared_and_restored_with_their_author(run: Any, portfolio: Portfolio) -> None:
    run("portfolio", "update", "First", "--param", "long_period=9")
    (change,) = json.loads(run("portfolio", "diff", "First", "--json"))
    assert change == {"path": "strategy.params.long_period", "before": 5, "after": 9}
    assert run("portfolio", "rollback", "First", "--to", "1") == "First is at version 3\n"
    assert json.loads(run("portfolio", "diff", "First", "1", "3", "--json")) == []
    found = json.loads(run("portfolio", "revisions", "First", "--json"))
    assert [(r["version"], r["author"]) for r in found] == [(3, "admin"), (2, "admin"), (1, "admin")]
    for words in (("diff", "First", "1", "2"), ("revisions", "First")):
        assert max(len(line) for line in run("portfolio", *words).splitlines()) <= 80
    assert "has no version 9" in refusal("portfolio", "diff", "First", "9")


def test_a_state_is_exported_and_becomes_anothers(run: Any, portfolio: Portfolio, tmp_path: Path) -> None:
    run("portfolio", "correct", "First", "--code", "600519.SH", "--volume", "300", "--price", "7", "--reason", "r")
    file = str(tmp_path / "first.json")
    run("portfolio", "export", "First", "--with-state", "--output", file)
    second = run("portfolio", "import", "--input", file, "--user", "admin").strip()
    assert services.get_positions(second) == services.get_positions(portfolio.id)
    assert run("portfolio", "import", second, "--input", file).strip() == second


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_accounts_are_made_listed_and_limited(run: Any, portfolio: Portfolio) -> None:
    made = run("account", "create", "--name", "desk", "--max-order-value", "50000").strip()
    found = {a["name"]: a for a in json.loads(run("account", "list", "--json"))}
    assert found["desk"]["id"] == made and found["desk"]["max_order_value"] == 50_000.0
    assert (found["paper-cn"]["portfolios"], found["desk"]["portfolios"]) == (1, 0)
    limited = json.loads(
        run("account", "limit", "desk", "--max-orders-per-minute", "5", "--max-order-value", "none", "--json")
    )
    assert (limited["max_orders_per_minute"], limited["max_order_value"]) == (5, None)
    assert json.loads(run("account", "show", "paper-cn", "--json"))["portfolios"] == ["First"]
    for words in (("list",), ("show", "desk"), ("limit", "desk", "--max-daily-turnover", "1000000")):
        assert max(len(line) for line in run("account", *words).splitlines()) <= 80
    assert "there is no account 'nope'" in refusal("account", "show", "nope")


def test_real_money_starts_only_when_it_is_meant(run: Any, tmp_path: Path) -> None:
    run("account", "create", "--name", "real", "--broker", "acme", "--kind", "live")
    (tmp_path / "c.json").write_text(json.dumps(GOOD))
    words = (
        *("portfolio", "create", "--name", "R", "--initial-cash", "1000", "--account", "real"),
        *("--config", str(tmp_path / "c.json")),
    )
    assert "account 'real' is live" in refusal(*words)
    assert not Portfolio.objects.exists()
    made = run(*words, "--yes").strip()
    assert "--yes" in refusal("portfolio", "start", made)
    assert run("portfolio", "start", made, "--yes") == "R is to run\n"
    shown = json.loads(run("portfolio", "show", made, "--json"))
    assert (shown["account"], shown["account_kind"], shown["broker"]) == ("real", "live", "acme")
    assert json.loads(run("portfolio", "status", made, "--json"))["account_kind"] == "live"
    assert "LIVE" in run("portfolio", "list") and "LIVE" in run("account", "list")


# -- decisions ---------------------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_its_last_decisions_are_shown_with_their_reasons(stack: RunningStack, run: Any, portfolio: Portfolio) -> None:
    moment = datetime(2024, 1, 2, 2, 0, tzinfo=UTC).isoformat()
    rows = [
        {
            "timestamp": moment, "kind": "veto" if n % 2 else "order", "code": "600519.SH", "direction": 1,
            "source": "PositionRatioRisk", "reason": f"reason number {n}: at most 20 % of the value may be in one",
            "volume": 1200, "order_id": "",
        }
        for n in range(30)
    ]  # fmt: skip
    key = livestate.decisions_key(portfolio.id)
    livestate.client().rpush(key, *[json.dumps(row) for row in rows], "no json")
    table = run("portfolio", "show", "First", "--decisions", "4")
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "2024-01-02 02:00" in table and "veto" in table and "buy 1,200" in table and "600519.SH" in table
    assert "number 29" in table and "number 26" not in table
    shown = json.loads(run("portfolio", "show", "First", "--json"))["decisions"]
    assert [row["reason"].split(":")[0] for row in shown[:2]] == ["reason number 29", "reason number 28"]
    assert len(shown) == 9  # the newest ten, one of which nobody can read
    assert json.loads(run("portfolio", "show", "First", "--decisions", "0", "--json"))["decisions"] == []


def test_without_redis_the_rest_is_shown(
    run: Any, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(timeout: float = 3.0) -> Any:
        raise livestate.RedisUnavailable("none here")

    monkeypatch.setattr(livestate, "client", away)
    call_command("portfolio", "show", "First", "--json")
    told = capsys.readouterr()
    assert json.loads(told.out)["decisions"] is None
    assert told.err.splitlines()[-1] == "what it decided is not known now, for Redis is away: none here"
