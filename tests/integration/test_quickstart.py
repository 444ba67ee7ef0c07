"""The founding quickstart, step by step: its commands and its HTTP calls on one cluster of real processes.

Addresses differ (a test has ports of its own), and so do names where the specification chose others: `portfolio create`
names components with their parameters rather than by uuid.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import redis
from confluent_kafka import Producer

from ginkgo_site import config
from ginkgo_site.supervisor.detach import command
from market import topics
from tests.support import eventually, stack
from tests.support.stack import RunningStack, running_stack

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

NODES = ("execution_node_001", "execution_node_002")
# As the quickstart writes it, and the codes that it forgot.
CONFIG = {
    "strategy": {
        "strategy_id": "trend_follow_strategy_uuid",
        "name": "TrendFollowStrategy",
        "params": {"short_period": 5, "long_period": 20},
    },
    "risk_managements": [
        {
            "risk_id": "position_ratio_risk_uuid",
            "name": "PositionRatioRisk",
            "params": {"max_position_ratio": 0.2, "max_total_position_ratio": 0.8},
        },
        {"risk_id": "loss_limit_risk_uuid", "name": "LossLimitRisk", "params": {"loss_limit": 10.0}},
    ],
    "sizer": {"sizer_id": "fixed_amount_sizer_uuid", "name": "FixedAmountSizer", "params": {"amount": 10000}},
    "codes": ["000001.SZ", "300059.SZ"],
}


@dataclass
class Quickstart:
    """The servers, `livecore`, two nodes, `web` and `alerts`, each started as the quickstart starts it."""

    stack: RunningStack
    web: str
    password: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    portfolio: str = ""
    _token: str = ""

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.stack.home / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command(*words), env=self.stack.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.processes[name]

    def worker(self, node_id: str) -> None:
        host, _, port = self.stack.redis.removeprefix("redis://").partition("/")[0].partition(":")
        self.start(
            node_id, "worker", "start", "--type", "execution_node", "--node-id", node_id, "--max-portfolios", "5",
            "--kafka-bootstrap-servers", self.stack.kafka, "--redis-host", host, "--redis-port", port,
        )  # fmt: skip

    def ginkgo(self, *words: str) -> str:
        done = self.stack.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def http(self, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        if not self._token:
            answer = _http(f"{self.web}/api/token/", "POST", {"username": "admin", "password": self.password}, {})
            self._token = answer[1]["access"]
        status, found = _http(f"{self.web}{path}", method, body, {"Authorization": f"Bearer {self._token}"})
        assert status == expected, found
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http("GET", f"/api/portfolio/{self.portfolio}/status")
        return found

    def runs_on(self, node_id: str) -> bool:
        found = self.status()
        return bool(found["status"] == "running" and found["node_id"] == node_id)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stack.redis, decode_responses=True)

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


def _http(url: str, method: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {**headers, **({"Content-Type": "application/json"} if data else {})}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def _cluster(home: Path) -> Iterator[Quickstart]:
    with running_stack(home) as running:
        done = running.run("data", "init", "--json")
        assert done.returncode == 0, done.stderr
        here = Quickstart(running, stack.read(home)["web"], json.loads(done.stdout)["admin"]["password"])
        try:
            here.start("web", "web")
            here.start("alerts", "alerts", "run")
            here.worker(NODES[0])
            here.start(
                "livecore", "livecore", "start", "--kafka-bootstrap-servers", running.kafka,
                "--data-source", "sample", "--broker-type", "simulation",
            )  # fmt: skip
            eventually(lambda: _answers(here.web), 120, saying="the web")
            yield here
        finally:
            here.close()


def _answers(web: str) -> bool:
    try:
        return _http(f"{web}/api/schema/", "GET", None, {})[0] > 0
    except (OSError, ValueError):
        return False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


@pytest.fixture(scope="module")
def quickstart(home: Path) -> Iterator[Quickstart]:
    with _cluster(home) as here:
        (home / "first.json").write_text(json.dumps(CONFIG))
        found = here.ginkgo(
            "portfolio", "create", "--name", "My First Live Portfolio", "--user", "admin",
            "--initial-cash", "100000", "--config", str(home / "first.json"), "--start", "--json",
        )  # fmt: skip
        here.portfolio = json.loads(found)["id"]
        eventually(lambda: here.runs_on(NODES[0]), 120, 0.5, saying="the portfolio running on the first node")
        yield here


def test_its_three_files_of_configuration_are_taken_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "mysql: {host: localhost, port: 3306, user: ginkgo, password: ginkgo_password, database: ginkgo}\n"
        'clickhouse: {host: localhost, port: 8123, user: default, password: "", database: ginkgo}\n'
        'redis: {host: localhost, port: 6379, db: 0, password: ""}\n'
        'mongodb: {host: localhost, port: 27017, user: "", password: "", database: ginkgo}\n'
        "kafka:\n  bootstrap_servers:\n    - localhost:9092\n  group_id: execution_node_group\n"
        "  auto_offset_reset: earliest\n  enable_auto_commit: false\n"
        "  topics:\n    ginkgo.live.market.data: {partitions: 20, replication_factor: 3}\n"
    )
    (tmp_path / "data_sources.yml").write_text(
        "sources:\n  tushare: {token: YOUR_TUSHARE_TOKEN, pro_api: https://api.tushare.pro}\n"
        "  simulation: {initial_prices: {000001.SZ: 10.00}}\n"
    )
    (tmp_path / "brokers.yml").write_text(
        "brokers:\n  simulation: {type: simulation, commission_rate: 0.0003, slippage_rate: 0.001}\n"
        "  real_broker: {type: real, broker_name: your_broker, api_key: K, api_secret: S, password: P}\n"
    )
    loaded, _ = config.load(environ={"GINKGO_CONFIG_DIR": str(tmp_path)})
    assert loaded.kafka.topics["ginkgo.live.market.data"].partitions == 20
    assert loaded.brokers["real_broker"]["type"] == "real"


def test_the_servers_answer_to_their_status_commands(quickstart: Quickstart) -> None:
    for server in ("mongo", "mysql", "redis", "clickhouse", "kafka"):
        assert json.loads(quickstart.ginkgo(server, "status", "--json"))


def test_redis_knows_the_node_and_the_portfolio_by_the_names_of_the_quickstart(quickstart: Quickstart) -> None:
    client = quickstart.redis()
    assert f"execution_node:{NODES[0]}:info" in client.keys("execution_node:*:info")
    assert client.hgetall(f"execution_node:{NODES[0]}:info")["max_portfolios"] == "5"
    assert datetime.fromisoformat(client.get(f"heartbeat:node:{NODES[0]}"))  # type: ignore[arg-type]
    assert set(client.hgetall(f"portfolio:{quickstart.portfolio}:state")) >= {"cash", "total_value", "position_count"}


def test_scenario_1_a_new_configuration_is_answered_and_runs(quickstart: Quickstart) -> None:
    strategy = {**CONFIG["strategy"], "params": {"short_period": 10, "long_period": 30}}  # type: ignore[dict-item]
    answer = quickstart.http("PUT", f"/api/portfolio/{quickstart.portfolio}", {"config": {"strategy": strategy}})
    assert set(answer) >= {"success", "portfolio_id", "status", "updated_at", "message"}
    assert (answer["success"], answer["status"]) == (True, "reloading")
    assert answer["portfolio_id"] == quickstart.portfolio

    def reloaded() -> bool:
        found = quickstart.status()
        return bool(found["running_version"] == found["version"] == 2 and found["status"] == "running")

    eventually(reloaded, 30, 0.5, saying="the new version running")
    found = quickstart.http("GET", f"/api/portfolio/{quickstart.portfolio}")
    assert found["config"]["strategy"]["params"] == {"short_period": 10, "long_period": 30}
    assert found["config"]["sizer"]["name"] == "FixedAmountSizer"


def test_scenario_2_status_and_positions_are_the_same_by_http_and_by_command(quickstart: Quickstart) -> None:
    by_command = json.loads(quickstart.ginkgo("portfolio", "status", quickstart.portfolio, "--json"))
    by_http = quickstart.status()
    for name in ("name", "status", "node_id", "market", "version"):
        assert by_command[name] == by_http[name]
    assert {"cash", "total_value", "position_count", "updated_at"} <= set(by_command) & set(by_http)
    by_http = quickstart.http("GET", f"/api/portfolio/{quickstart.portfolio}/positions")["positions"]
    by_command = json.loads(quickstart.ginkgo("portfolio", "positions", quickstart.portfolio, "--json"))
    names = {"code", "volume", "available", "cost_price", "last_price", "profit"}
    assert all(set(each) >= names for each in [*by_http, *by_command])


def test_scenario_3_a_portfolio_is_moved_by_hand(quickstart: Quickstart) -> None:
    quickstart.worker(NODES[1])
    eventually(lambda: NODES[1] in _nodes(quickstart), 90, 0.5, saying="the second node")
    wanted = {"portfolio_id": quickstart.portfolio, "source_node": NODES[0], "target_node": NODES[1]}
    answer = quickstart.http("POST", "/api/schedule/migrate", wanted)
    assert answer == {"success": True, "status": "migrating", "estimated_time": answer["estimated_time"], **wanted}
    assert 0 < answer["estimated_time"] <= 30
    eventually(lambda: quickstart.runs_on(NODES[1]), 60, 0.5, saying="it running on the second node")


def test_scenario_4_alerts_of_a_time(quickstart: Quickstart) -> None:
    now = datetime.now(UTC)
    alert = {
        "_v": 1, "event_type": "alert", "timestamp": now.isoformat().replace("+00:00", "Z"),
        "alert_id": "0d1b5a52-6c58-4a43-9d7e-7d6f5a1f0c11", "alert_type": "queue_full", "severity": "critical",
        "source": NODES[0], "message": "Portfolio portfolio_001 queue is 95% full",
        "details": {"portfolio_id": "portfolio_001", "queue_size": 950, "queue_max": 1000},
    }  # fmt: skip
    producer = Producer({"bootstrap.servers": quickstart.stack.kafka, "partitioner": "murmur2_random"})
    producer.produce(topics.ALERTS, key=NODES[0], value=json.dumps(alert))
    assert producer.flush(20) == 0
    begin, end = int(now.timestamp()) - 60, int(now.timestamp()) + 60

    def stored() -> Any:
        found = quickstart.http("GET", f"/api/alerts?start_time={begin}&end_time={end}&limit=100")
        return [each for each in found["alerts"] if each["alert_id"] == alert["alert_id"]] and found

    found = eventually(stored, 30, 0.5, saying="the alert stored")
    (mine,) = [each for each in found["alerts"] if each["alert_id"] == alert["alert_id"]]
    assert {k: mine[k] for k in ("alert_type", "severity", "source", "message", "details")} == {
        k: alert[k] for k in ("alert_type", "severity", "source", "message", "details")
    }
    assert found["total_count"] >= 1


def test_scenario_5_nodes_leave_and_come_back_and_the_portfolio_is_always_somewhere(quickstart: Quickstart) -> None:
    here = quickstart
    if NODES[1] not in here.processes:
        here.worker(NODES[1])
    eventually(lambda: set(NODES) <= _nodes(here), 90, 0.2, saying="both nodes")
    where = here.status()["node_id"]
    (other,) = set(NODES) - {where}
    assert here.redis().get(f"heartbeat:node:{where}")
    # Ctrl-C: it leaves in order, and nobody waits for its heartbeat to end.
    here.processes[where].send_signal(signal.SIGINT)
    eventually(lambda: here.runs_on(other), 90, 0.5, saying="it running on the other node")
    assert here.processes[where].wait(40) == 0
    here.worker(where)
    eventually(lambda: where in _nodes(here), 90, 0.2, saying="the node seen again")
    # kill -9: heard of only by its silence, 30 s.
    begun = time.monotonic()
    here.processes[other].kill()
    eventually(lambda: here.runs_on(where), 90, 0.5, saying="it running on the node that came back")
    assert 20 < time.monotonic() - begun < 90

    def told() -> list[Any]:
        found = here.http("GET", "/api/alerts?limit=50")["alerts"]
        return [each for each in found if each["alert_type"] == "node_offline" and other in each["message"]]

    eventually(told, 30, 0.5, saying="the alert that it is offline")
    here.worker(other)
    eventually(lambda: set(NODES) <= _nodes(here), 90, 0.5, saying="both nodes again")


def test_question_1_a_portfolio_is_exported_and_imported(quickstart: Quickstart, home: Path) -> None:
    backup = home / "portfolio_backup.json"
    quickstart.ginkgo("portfolio", "export", quickstart.portfolio, "--output", str(backup))
    version = quickstart.status()["version"]
    quickstart.ginkgo("portfolio", "import", quickstart.portfolio, "--input", str(backup))
    assert quickstart.status()["version"] == version  # the same again changes nothing
    exported = quickstart.http("GET", f"/api/portfolio/{quickstart.portfolio}/export")
    assert exported["portfolio"]["config"] == json.loads(backup.read_text())["portfolio"]["config"]


def test_question_2_a_live_portfolio_is_run_over_history(quickstart: Quickstart) -> None:
    found = quickstart.ginkgo(
        "backtest", "run", "--portfolio-id", quickstart.portfolio,
        "--start-date", "2023-01-01", "--end-date", "2023-12-31", "--json",
    )  # fmt: skip
    assert json.loads(found)["fills"] > 0


def test_question_3_all_trading_is_stopped(quickstart: Quickstart) -> None:
    quickstart.http("POST", "/api/engine/live/stop")
    assert quickstart.http("GET", "/api/engine/live/status")["switch"] == "off"
    eventually(
        lambda: quickstart.http("GET", "/api/engine/live/status")["engine_status"] == "stopped", 20, 0.5,
        saying="the engine stopped",
    )  # fmt: skip
    quickstart.http("POST", "/api/engine/live/start")
    assert quickstart.http("GET", "/api/engine/live/status")["switch"] == "on"


def test_livecore_refuses_what_it_does_not_have(home: Path) -> None:
    done = stack.run(home, "livecore", "start", "--data-source", "nothing")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "sample, simulation, none" in line


def _nodes(here: Quickstart) -> set[str]:
    found = here.http("GET", "/api/nodes")
    return {n["node_id"] for n in found["results"] if n["state"] == "running"}
