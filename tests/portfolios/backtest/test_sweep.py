"""`ginkgo backtest sweep`: the same figures as one run each, sorted, and only what is missing when it is run again."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ginkgo_site.supervisor.detach import command, environment
from portfolios.backtest.sample import CODES
from tests.portfolios.backtest.support import document
from tests.support import eventually

SHORT, LONG = "strategy.params.short_period", "strategy.params.long_period"
GRID = ("--grid", f"{SHORT}=3,5,30", "--grid", f"{LONG}=10,20")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cross.json"
    path.write_text(json.dumps(document(params={"short_period": 5, "long_period": 20}, codes=CODES[:2])))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path) -> Any:
    def ginkgo(command: str, *words: object) -> str:
        kept = ("--jobs", "1", "--results", str(tmp_path / "sweep.jsonl")) if command == "sweep" else ()
        call_command("backtest", command, "--config", str(config), *kept, *map(str, words))
        return capsys.readouterr().out

    return ginkgo


def test_each_run_is_what_a_single_backtest_says_best_first(run: Any, config: Path, tmp_path: Path) -> None:
    words = ("--end-date", "2021-12-31", "--initial-cash", "500000")
    found = json.loads(run("sweep", *GRID, *words, "--sort", "return", "--jobs", "2", "--json"))
    returns = [each["return"] for each in found["runs"]]
    assert returns == sorted(returns, reverse=True)
    assert [each["params"] for each in found["skipped"]] == [{SHORT: 30, LONG: 10}, {SHORT: 30, LONG: 20}]
    assert "must be smaller than long_period" in found["skipped"][0]["reason"]
    assert (len(found["runs"]), found["kept"], found["failed"], found["combinations"]) == (4, 0, [], 6)
    best = found["runs"][0]
    config.write_text(
        json.dumps(
            document(
                params={"short_period": best["params"][SHORT], "long_period": best["params"][LONG]}, codes=CODES[:2]
            )
        )
    )
    single = json.loads(run("run", *words, "--json"))
    timing = ("elapsed_seconds", "bars_per_second", "params")
    assert {key: value for key, value in best.items() if key not in timing} == {
        key: value for key, value in single.items() if key not in timing
    }


def test_again_it_runs_only_what_is_missing_and_a_line_cut_off_is_missing(run: Any, tmp_path: Path) -> None:
    kept = tmp_path / "sweep.jsonl"
    first = json.loads(run("sweep", *GRID, "--end-date", "2019-06-30", "--json"))
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    kept.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    more = ("--grid", f"{SHORT}=3,5,8", "--grid", f"{LONG}=10,20")
    again = json.loads(run("sweep", *more, "--end-date", "2019-06-30", "--json"))
    assert (again["kept"], len(again["runs"])) == (2, 6)
    by_params = {json.dumps(each["params"]): each["final_value"] for each in again["runs"]}
    assert all(by_params[json.dumps(each["params"])] == each["final_value"] for each in first["runs"])
    fresh = json.loads(run("sweep", "--grid", f"{SHORT}=3", "--end-date", "2019-06-30", "--fresh", "--json"))
    assert (fresh["kept"], len(fresh["runs"]), len(kept.read_bytes().splitlines())) == (0, 1, 2)


def test_results_of_another_sweep_are_not_mixed_in(run: Any) -> None:
    run("sweep", "--grid", f"{SHORT}=3", "--end-date", "2019-02-28", "--json")
    with pytest.raises(CommandError, match=r"holds another sweep .*--results, or begin it anew by --fresh"):
        run("sweep", "--grid", f"{SHORT}=3", "--end-date", "2019-03-31", "--json")


def test_killed_in_the_middle_it_goes_on_where_it_was(config: Path, tmp_path: Path) -> None:
    kept = tmp_path / "sweep.jsonl"
    run_it = command(
        "backtest", "sweep", "--config", str(config), "--results", str(kept), "--jobs", "1", "--json",
        "--grid", f"{SHORT}=1..12", "--end-date", "2020-12-31",
    )  # fmt: skip

    def done() -> list[bytes]:
        return kept.read_bytes().splitlines(keepends=True)[1:] if kept.exists() else []

    with subprocess.Popen(run_it, env=environment(), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: len(done()) >= 3 or process.poll() is not None, 120)
        process.send_signal(signal.SIGKILL)
    whole = [line for line in done() if line.endswith(b"\n")]
    assert 3 <= len(whole) < 12
    found = json.loads(subprocess.run(run_it, env=environment(), capture_output=True, check=True).stdout)
    assert found["kept"] == len(whole)
    assert len(found["runs"]) == 12
    assert done()[: len(whole)] == whole
    assert len(done()) == 12


def test_the_table_fits_eighty_columns_and_says_what_was_left_out(run: Any) -> None:
    shown = run("sweep", *GRID, "--end-date", "2019-06-30", "--top", "2", "--sort", "fees")
    assert max(len(line) for line in shown.splitlines() if not line.startswith("Kept in")) <= 80
    for text in ("short_period", "long_period", "Fees", "… and 2 more", "2 combinations are not valid", "Kept in"):
        assert text in shown


def test_what_fails_in_one_run_does_not_stop_the_others(
    run: Any, capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fickle.py").write_text(
        "import msgspec\n"
        "from portfolios.kernel.component import Strategy\n"
        "class Fickle(Strategy):\n"
        "    class Params(msgspec.Struct, frozen=True):\n"
        "        divisor: int = 1\n"
        "    def on_price(self, memory, tick):\n"
        "        print('noise')\n"
        "        1 // self.params.divisor\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config.write_text(json.dumps(document("fickle:Fickle", {})))
    with pytest.raises(CommandError):
        run("sweep", "--grid", "strategy.params.divisor=0,1,2", "--end-date", "2019-02-28", "--json")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [each["params"] for each in found["runs"]] == [
        {"strategy.params.divisor": 1},
        {"strategy.params.divisor": 2},
    ]
    (failed,) = found["failed"]
    assert "ZeroDivisionError" in failed["reason"]
    assert "not run: divisor=0: fickle:Fickle" in err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--grid", f"{SHORT}=3", "--sort", "luck"), "--sort must be one of return, annual_return"),
        (("--grid", f"{SHORT}=3", "--data", "gone.csv"), "none of 1 backtests could be run: gone.csv"),
        (("--grid", f"{SHORT}=3", "--results", "/dev/null/x"), "/dev/null/x: "),
    ],
)
def test_bad_input_is_one_clear_line(run: Any, words: tuple[str, ...], fault: str) -> None:
    with pytest.raises(CommandError) as raised:
        run("sweep", *words)
    assert str(raised.value).startswith(fault)
    assert "\n" not in str(raised.value)
