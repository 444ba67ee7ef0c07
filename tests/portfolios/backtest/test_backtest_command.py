"""`ginkgo backtest run`, called in this process: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from marina_rules.check import check_rows

from portfolios import services
from portfolios.backtest.sample import CODES
from tests.portfolios.backtest.support import document

STRATEGIES: dict[str, dict[str, Any]] = {
    "TrendFollowStrategy": {"short_period": 5, "long_period": 20},
    "MeanReversionStrategy": {"period": 20, "entry": 1.5},
    "MomentumStrategy": {"period": 10, "buy_above": 3},
    "DualThrustStrategy": {"sessions": 4},
}
RISKS = {
    "PositionRatioRisk": {"max_position_ratio": 0.2},
    "LossLimitRisk": {"loss_limit": 8},
    "ProfitTargetRisk": {"profit_target": 25},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cross.json"
    path.write_text(json.dumps(document(params={"short_period": 5, "long_period": 20}, codes=CODES, risks=RISKS)))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def ginkgo(*words: object) -> str:
        call_command("backtest", "run", *map(str, words))
        return capsys.readouterr().out

    return ginkgo


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_exported_fills_of_every_strategy_pass_the_audit(run: Any, tmp_path: Path, strategy: str) -> None:
    config, fills = tmp_path / "config.json", tmp_path / "fills.csv"
    config.write_text(json.dumps(document(strategy, STRATEGIES[strategy], codes=CODES, risks=RISKS)))
    found = json.loads(run("--config", config, "--export-fills", fills, "--json"))
    with fills.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    audit = check_rows(rows, strict=True)
    assert audit["findings"] == []
    assert audit["rows"] == len(rows) == found["fills"] > 50
    assert {"2019", "2026"} <= {row["date"][:4] for row in rows}
    assert all(row["prev_close"] and row["market"] for row in rows)


def test_the_document_says_what_came_of_it(run: Any, file: Path) -> None:
    found = json.loads(
        run(
            "--config",
            file,
            "--start-date",
            "2021-01-01",
            "--end-date",
            "2022-12-31",
            "--initial-cash",
            "500000",
            "--json",
        )
    )
    assert (found["start"], found["end"], found["initial_cash"]) == ("2021-01-04", "2022-12-30", 500000.0)
    assert found["return"] == pytest.approx(found["final_value"] / 500_000 - 1)
    assert found["warmup_bars"] > 1000
    assert {
        "annual_return", "max_drawdown", "sharpe", "sortino", "turnover", "win_rate", "trades", "fees"
    } <= found.keys()  # fmt: skip
    assert found["fees"] > 0
    assert 0 < found["max_drawdown"] < 1


def test_the_same_run_again_is_the_same_to_the_last_fill(run: Any, file: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        run("--config", file, "--end-date", "2020-12-31", "--export-fills", tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_the_table_fits_eighty_columns(run: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("--config", file, "--end-date", "2020-12-31")
    assert max(map(len, shown.splitlines())) <= 80
    for name in ("Return", "Annualised", "Max drawdown", "Sharpe", "Sortino", "Turnover", "Trades", "Fees"):
        assert name in shown


def test_the_page_needs_nothing_but_itself(run: Any, tmp_path: Path, file: Path) -> None:
    config = json.loads(file.read_text())
    hostile = tmp_path / "<script>&.json"
    hostile.write_text(json.dumps({**config, "strategy": {**config["strategy"], "strategy_id": "</pre><script>"}}))
    page = tmp_path / "page.html"
    run("--config", hostile, "--html", page)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(src|href)=|url\(|@import|https?://", text)
    assert "prefers-color-scheme: dark" in text
    assert text.count("<svg") == 2 + len(CODES)
    assert text.count('class="buy"') > 100
    assert text.count('class="sell"') > 100
    assert "nan" not in "".join(re.findall(r' d="([^"]*)"', text))


@pytest.mark.django_db
def test_a_portfolio_is_run_with_its_own_config_cash_and_id(run: Any, file: Path, tmp_path: Path) -> None:
    User.objects.create_superuser("admin", password="secret")
    made = services.create("First", None, "cn", 250_000, json.loads(file.read_text()))
    found = json.loads(run("--portfolio-id", str(made.id)[:8], "--end-date", "2020-12-31", "--json"))
    assert (found["portfolio_id"], found["initial_cash"]) == (str(made.id), 250_000.0)
    assert services.get(made.id).status == "created"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "give either --portfolio-id or --config"),
        (("--portfolio-id", "nobody"), "there is no portfolio 'nobody'"),
        (("--config", "FILE", "--data", "gone.csv"), r"gone\.csv: there is no such file"),
        (("--config", "FILE", "--start-date", "2024-02-30"), "--start-date must be a day such as 2024-12-31"),
        (("--config", "FILE", "--start-date", "2024-02-01", "--end-date", "2024-01-01"), "is after the end date"),
        (("--config", "FILE", "--start-date", "2031-01-01"), "there are no prices from 2031-01-01 on"),
        (("--config", "FILE", "--html", "no/such/place.html"), "there is no such directory"),
        (("--config", "FILE", "--slippage-rate", "1.5"), "slippage rate must be at least 0 and less than 1"),
    ],
)
def test_bad_input_is_one_clear_line(run: Any, file: Path, words: tuple[str, ...], fault: str) -> None:
    with pytest.raises(CommandError, match=fault) as raised:
        run(*(str(file) if word == "FILE" else word for word in words))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words", "faults"),
    [
        ("{", (), ["cross.json: is not JSON"]),
        ("[]", (), ["config: must be an object"]),
        (json.dumps(document(codes=[])), (), ["codes"]),
        (
            json.dumps(document(params={"short_period": 9, "long_period": 3})),
            ("--initial-cash", "lots"),
            ["initial_cash: must be an amount"],
        ),
        (json.dumps(document(params={"short_period": 9, "long_period": 3})), (), ["strategy.params.short_period"]),
    ],
)
def test_every_fault_of_the_config_is_a_line(
    capsys: pytest.CaptureFixture[str], file: Path, text: str, words: tuple[str, ...], faults: list[str]
) -> None:
    file.write_text(text)
    with pytest.raises(CommandError):
        call_command("backtest", "run", "--config", str(file), *words)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(faults)
    assert all(fault in line for fault, line in zip(faults, lines, strict=True))
