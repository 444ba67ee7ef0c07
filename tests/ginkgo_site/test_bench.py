"""The benchmarks' statistics, the form of what they print, and the market they trade. Not their speed."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

from ginkgo_site.bench import backtest, backtest_run, catalogue, latency, routing, ticks
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median, percentile
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.programs import measure
from ginkgo_site.bench.report import figure, show
from ginkgo_site.config import PROJECT
from ginkgo_site.supervisor.detach import command, environment
from market import bus
from market.topics import market_topic
from portfolios import configs


def outcome(**changes: object) -> Outcome:
    values: dict[str, object] = {
        "name": "routing", "ours": 213_456.7, "unit": "messages/s", "must": 200_000, "bound": "at least",
        "peers": {"quixstreams": 56_000.0, "kafka-python": None}, "notes": ["kafka-python is absent: no wheel"],
    }  # fmt: skip
    return Outcome(**{**values, **changes})  # type: ignore[arg-type]


def test_the_median_is_the_middle_or_the_mean_of_the_middle_two() -> None:
    assert median([3.0, 100.0, 1.0]) == 3.0
    assert median([4.0, 1.0, 2.0, 100.0]) == 3.0
    with pytest.raises(ValueError, match="nothing"):
        median([])


def test_a_percentile_is_a_measured_value_that_so_many_do_not_exceed() -> None:
    values = [float(i) for i in range(100, 0, -1)]
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([1.0, 2.0, 3.0], 99) == 3.0
    with pytest.raises(ValueError, match="percentage"):
        percentile(values, 0)


def test_more_is_better_or_less_is_and_every_further_condition_counts() -> None:
    assert outcome().met
    assert not outcome(ours=199_999.0).met
    assert outcome(ours=0.9, must=1.0, bound="at most").met
    assert not outcome(ours=1.1, must=1.0, bound="at most").met
    assert not outcome(also={"3 × quixstreams with state": False}).met


def test_the_document_has_the_specified_keys_and_only_peers_that_were_run() -> None:
    document = json.loads(json.dumps(outcome().document()))

    expected = {"name": "routing", "ours": 213_500.0, "unit": "messages/s", "must": 200_000, "met": True}
    assert expected.items() <= document.items()
    assert document["peers"] == {"quixstreams": 56_000.0}
    assert document["notes"] == ["kafka-python is absent: no wheel"]


def test_the_table_fits_80_columns_and_says_which_peer_is_absent() -> None:
    written = io.StringIO()
    console = Console(width=80, file=written)
    show([outcome(), outcome(name="latency-p99", unit="ms", peers={"two bare Kafka hops": 6.9})], console)
    shown = written.getvalue()

    assert max(map(len, shown.splitlines())) <= 80
    assert "kafka-python absent" in shown
    assert "213,457" in shown


def test_figures_are_shown_as_precisely_as_they_are_known() -> None:
    assert [figure(value) for value in (1_234_567.8, 200.0, 0.61234, 3.126)] == ["1,234,568", "200", "0.612", "3.13"]


def test_routing_counts_the_medians_and_the_ratio_to_quixstreams_with_state() -> None:
    def runs(*seconds: float) -> list[dict[str, float]]:
        return [{"messages": 1000.0, "seconds": s, "cpu_seconds": s / 2, "overflows": 0, "orders": 3} for s in seconds]

    found = routing.outcome(
        {"ours": runs(0.004, 0.005, 0.1), "quixstreams with state": runs(0.02, 0.01, 0.02)}, {"x": "no wheel"}, 500
    )

    assert found.ours == pytest.approx(200_000)
    assert found.peers == {"quixstreams with state": pytest.approx(50_000), "x": None}
    assert found.also == {"3 × quixstreams with state": True}
    assert found.details["µs of processor time a message, ours"] == pytest.approx(2.5)
    assert not routing.outcome(
        {"ours": runs(0.004), "quixstreams with state": runs(0.005)}, {}, 500
    ).met  # fast enough, but less than three times as fast


def test_latency_is_bound_by_a_multiple_of_the_bare_hops_of_the_same_run() -> None:
    fast = {"ours": [float(i) for i in range(1, 101)], "bare": [float(i) / 2 for i in range(1, 101)]}
    p50, p99 = latency.outcomes([fast, fast], 0, "sqlite")

    assert (p50.name, p50.ours, p50.must, p50.met) == ("latency-p50", 50.0, 62.5, True)
    assert (p99.name, p99.ours, p99.must, p99.met) == ("latency-p99", 99.0, 74.25, False)
    assert p50.peers == {"two bare Kafka hops": 25.0}


def test_the_backtest_counts_the_medians_and_says_which_peer_is_absent() -> None:
    ours = [
        {"bars": 1000, "fills": 9, "seconds": s, "cpu_seconds": s / 2, "file_seconds": 2 * s}
        for s in (0.004, 0.002, 0.001)
    ]
    peer = [{"bars": 100, "trades": 3, "seconds": 0.01}]
    found = backtest.outcome("backtest", 300_000, {"ours": ours, "backtrader": peer}, {"backtesting.py": "no wheel"})

    assert (found.ours, found.met) == (pytest.approx(500_000), True)
    assert found.peers == {"backtrader": pytest.approx(10_000), "backtesting.py": None}
    assert found.details["times backtrader"] == pytest.approx(50)
    assert found.details["reading a CSV file included (bars/s)"] == pytest.approx(250_000)
    assert found.details["bars/s of processor time"] == pytest.approx(1_000_000)
    assert found.notes == ["backtesting.py is absent: no wheel"]


def test_ours_trades_every_minute_of_the_backtests_file(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    for codes in (backtest.CODES[:1], backtest.CODES):
        backtest.write_minutes(file, codes, 2_000)
        found = backtest_run.main(str(file), 5, 20, 100_000)
        assert found["bars"] == 2_000
        assert found["fills"] > 0


def test_no_peer_of_the_backtest_is_in_a_file_of_requirements() -> None:
    for file in PROJECT.glob("requirements*.txt"):
        assert not {"backtesting", "backtrader"} & {line.partition("==")[0] for line in file.read_text().splitlines()}


def test_the_market_is_well_formed_and_the_same_every_time() -> None:
    codes = ticks.codes(100)
    first = list(ticks.walk(codes, 250))

    assert first == list(ticks.walk(codes, 250))
    assert [tick.code for tick in first[100:200]] == codes
    assert len(set(codes)) == 100
    assert {market_topic(code) for code in codes} == {market_topic("600519.SH")}
    assert all(tick.low <= tick.price <= tick.high for tick in first)  # type: ignore[operator]
    assert first[200].timestamp - first[100].timestamp == first[100].timestamp - first[0].timestamp
    assert {bus.partition_of(code, 10) for code in codes} == set(range(10))


def test_five_portfolios_with_500_codes_of_5000_each_want_half_of_the_messages() -> None:
    codes = ticks.codes()
    shares = ticks.shares(codes, 5, 500)
    wanted = set().union(*shares)

    assert [len(share) for share in shares] == [500] * 5
    assert len(wanted) == 2500
    assert sum(tick.code in wanted for tick in islice(ticks.walk(codes, 10_000), 10_000)) == 5_000
    with pytest.raises(ValueError, match="too few"):
        ticks.shares(codes, 11, 500)


def test_the_portfolios_of_a_benchmark_are_valid() -> None:
    assert configs.faults_of(ticks.trend_follow(ticks.codes(10)), "cn") == []


def test_a_program_that_fails_is_one_line_with_its_reason() -> None:
    with pytest.raises(BenchError, match=r"failed \(exit code 1\).*no such peer"):
        measure(["python3", "-c", "import sys; sys.exit('no such peer')"], 30)


def test_a_program_says_what_it_measured_as_its_last_line() -> None:
    assert measure(["python3", "-c", "print('warming up'); print('{\"seconds\": 2.5}')"], 30) == {"seconds": 2.5}


def test_an_unknown_benchmark_is_one_clear_line() -> None:
    done = subprocess.run(
        command("bench", "speed"), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "planner" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_benchmark_named_is_there() -> None:
    for name in catalogue.NAMES:
        assert callable(importlib.import_module(f"ginkgo_site.bench.{name}").run)


def test_the_planner_is_measured_as_one_json_list() -> None:
    done = subprocess.run(
        command("bench", "planner", "--json"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["unit"], found["must"]) == ("planner", "s", 1.0)
    assert found["ours"] > 0
