"""The benchmarks' statistics, the form of what they print, and the market they trade. Not their speed."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
from collections import Counter
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from ginkgo_site.bench import (
    backtest,
    backtest_run,
    catalogue,
    gaps,
    latency,
    migration,
    proof,
    routing,
    ticks,
    trend,
    witness,
)
from ginkgo_site.bench.answers import Answers, Arrival
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
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import order_id
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import rules_for
from portfolios.kernel.state import decode
from portfolios.models import Assignment


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


def test_what_else_was_counted_is_a_list_of_one_figure_a_line() -> None:
    written = io.StringIO()
    details = {"the longest time that anybody ever waited for a portfolio, from asking to done (s)": 0.25, "lost": 0.0}
    show([outcome(also={"nothing lost": False}, details=details)], Console(width=80, file=written))
    lines = [line.split() for line in written.getvalue().splitlines()]

    assert ["nothing", "lost", "no"] in lines
    assert ["lost", "0"] in lines
    assert max(map(len, written.getvalue().splitlines())) <= 80


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
    assert configs.faults_of(witness.config(ticks.codes(10)), "cn") == []


def test_a_pause_is_the_longest_silence_that_touches_the_time_in_which_something_was_done() -> None:
    arrivals = [0.0, 1.0, 1.1, 3.1, 3.2, 9.0]

    assert gaps.longest(arrivals, 1.05, 3.15) == pytest.approx(2.0)
    assert gaps.longest(arrivals, 2.0, 2.1) == pytest.approx(2.0)  # the silence is longer than what was done
    assert gaps.longest(arrivals, 3.15, 3.3) == pytest.approx(5.8)
    assert gaps.longest(arrivals, 1.02, 1.08) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="before or after"):
        gaps.longest(arrivals, 3.0, 9.5)  # nobody knows when it ends


def test_each_code_of_a_witness_is_marked_in_turn_and_each_portfolio_at_a_steady_rate() -> None:
    codes, every = ticks.codes(500), 5
    market = list(ticks.walk(codes, 500 * every * 2, every=every))
    share = set(ticks.shares(codes, 10, 50)[3])
    marked = [at for at, tick in enumerate(market) if tick.code in share and tick.ask_volume == witness.MARK]

    assert [tick.bid_volume for tick in market[:: len(codes)]] == list(range(1, 2 * every + 1))
    assert len(marked) == len(share) * 2
    assert max(after - before for before, after in pairwise(marked)) <= 2 * 10 * every
    assert Counter(market[at].code for at in marked) == dict.fromkeys(share, 2)


def test_minutes_pass_in_trading_sessions_only() -> None:
    friday = datetime(2026, 11, 20, 3, 29, tzinfo=UTC)
    noon = ticks.next_minute(friday)
    assert (noon.weekday(), noon.hour, noon.minute) == (4, 5, 0)
    monday = ticks.next_minute(friday.replace(hour=6, minute=59))
    assert (monday.weekday(), monday.hour, monday.minute) == (0, 1, 30)


def test_a_series_is_flat_if_it_grows_no_more_than_it_fluctuates() -> None:
    seconds = [5.0 * n for n in range(720)]
    calm = [200 + n % 7 * 0.5 for n in range(720)]
    leak = [value + at / 3600 * 10 for value, at in zip(calm, seconds, strict=True)]

    assert trend.of(seconds, calm).flat
    found = trend.of(seconds, leak)
    assert not found.flat
    assert (found.per_hour, found.level) == (pytest.approx(10, abs=0.5), pytest.approx(206.5, abs=1))
    with pytest.raises(ValueError, match="too few"):
        trend.of(seconds[:20], calm[:20])


def _witness(codes: tuple[str, ...]) -> Portfolio:
    return Portfolio(_ID, parse(witness.config(codes), "cn"), rules_for("cn"), to_units(10**9))


_ID = "0b7d0a52-6d43-4c83-9d7a-1f5c9a6f1e12"


def test_a_witness_counts_what_it_misses_and_what_it_is_told_twice() -> None:
    codes = tuple(ticks.codes(2))
    portfolio = _witness(codes)
    market = list(ticks.walk(codes, 20, every=3))
    for at in [*range(8), *range(10, 20), 19]:  # two of them never come, and the last comes twice
        portfolio.apply(market[at], Cause("t", 0, at))
    rows = {
        row.code: msgspec.json.decode(row.memory, type=proof.Memory) for row in decode(portfolio.snapshot()).watches
    }

    assert [(rows[code].told, rows[code].missing, rows[code].newest) for code in codes] == [(9, 1, 10), (10, 1, 10)]
    assert [rows[code].twice for code in codes] == [0, 1]


def test_a_witness_orders_at_every_marked_tick_answered_or_not() -> None:
    codes = tuple(ticks.codes(10))
    portfolio = _witness(codes)
    market = list(ticks.walk(codes, 100, every=2))
    made = [intent for at, tick in enumerate(market) for intent in portfolio.apply(tick, Cause("t", 0, at))]
    marked = [order_id(_ID, f"t:0:{at}:0", 0) for at, tick in enumerate(market) if tick.ask_volume == witness.MARK]

    assert [each.order_id for each in made] == marked
    assert len(marked) == 50


def test_what_was_lost_or_repeated_is_counted_from_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = proof.Log(Counter(a=10, b=10), {"a": ["t:0:1:0", "t:0:2:0"], "b": []}, 5000.0)
    expected = {"p": {"x", "y"}}
    answers = Answers()
    told = {"a": proof.Memory(newest=10, told=10), "b": proof.Memory(newest=10, told=10)}
    monkeypatch.setattr(proof, "memories", lambda _: told)

    def came(*ids: str) -> proof.Verdict:
        answers.arrivals["p"] = [Arrival(0.0, each, "a", 1, ticks.OPENING) for each in ids]
        return proof.compare({"p": ("a", "b")}, log, expected, answers)

    assert came("x", "y").clean
    assert (came("x").orders_lost, came("x").clean) == (1, False)
    assert (came("x", "y", "z").orders_extra, came("x", "y", "z").clean) == (1, False)
    told["a"] = proof.Memory(newest=9, told=10, missing=1, twice=2)
    assert (came("x", "y").lost, came("x", "y").twice, came("x", "y").clean) == (2, 2, False)


def test_a_portfolio_moves_from_the_fuller_node_the_one_that_stood_longest() -> None:
    owned = {
        name: Assignment(portfolio_id=name, node_id=node) for name, node in zip("abc", ("bench-2",) * 3, strict=True)
    }
    owned["c"].node_id = "bench-1"

    assert migration.choose(owned, {"a": 5.0, "b": 2.0, "c": 0.0}) == ("b", "bench-1")


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
