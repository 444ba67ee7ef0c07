"""The configuration: strict, typed, every value with its source, no secret in sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ginkgo_site import config_file, config_report
from ginkgo_site.config import Config, ConfigurationError, load, typed

# The sample of the founding quickstart, word for word.
QUICKSTART = """
# MySQL配置
mysql:
  host: localhost
  port: 3306
  user: ginkgo
  password: ginkgo_password
  database: ginkgo

# ClickHouse配置
clickhouse:
  host: localhost
  port: 8123
  user: default
  password: ""
  database: ginkgo

# Redis配置
redis:
  host: localhost
  port: 6379
  db: 0
  password: ""

# MongoDB配置
mongodb:
  host: localhost
  port: 27017
  user: ""
  password: ""
  database: ginkgo

# Kafka配置
kafka:
  bootstrap_servers:
    - localhost:9092
  group_id: execution_node_group
  auto_offset_reset: earliest
  enable_auto_commit: false
"""
QUICKSTART_SOURCES = """
sources:
  tushare:
    token: YOUR_TUSHARE_TOKEN
    pro_api: https://api.tushare.pro

  simulation:
    initial_prices:
      000001.SZ: 10.00
      000002.SZ: 20.00
"""
QUICKSTART_BROKERS = """
brokers:
  simulation:
    type: simulation
    commission_rate: 0.0003
    slippage_rate: 0.001

  real_broker:
    type: real
    broker_name: your_broker
    api_key: YOUR_API_KEY
    api_secret: YOUR_API_SECRET
    password: YOUR_PASSWORD
"""


class Folder:
    """A `~/.ginkgo` of the test's own, and the environment that points to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"GINKGO_CONFIG_DIR": str(path)}

    def write(self, text: str, name: str = "config.yaml") -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, overrides: dict[str, Any] | None = None, **environ: str) -> Config:
        return load(overrides, {**self.environ, **environ})[0]

    def refusal(self, overrides: dict[str, Any] | None = None, **environ: str) -> str:
        with pytest.raises(ConfigurationError) as caught:
            self.load(overrides, **environ)
        message = str(caught.value)
        assert "\n" not in message
        return message


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_without_files_everything_is_embedded(folder: Folder) -> None:
    config = folder.load()
    assert (config.mysql.host, config.redis.host, config.mongodb.host, config.clickhouse.host) == (None,) * 4
    assert config.kafka.bootstrap_servers == ()
    assert config.node.heartbeat_interval == 10
    assert config.node.heartbeat_ttl == 30


def test_the_quickstarts_sample_loads_as_it_is(folder: Folder) -> None:
    folder.write(QUICKSTART)
    folder.write(QUICKSTART_SOURCES, "data_sources.yml")
    folder.write(QUICKSTART_BROKERS, "brokers.yml")
    config = folder.load()
    assert config.kafka.bootstrap_servers == ("localhost:9092",)
    assert config.mysql.password.get_secret_value() == "ginkgo_password"
    assert config.sources["simulation"]["initial_prices"]["000001.SZ"] == 10.0
    assert config.brokers["real_broker"]["type"] == "real"


def test_the_later_source_wins_and_every_value_says_where_it_is_from(folder: Folder) -> None:
    path = folder.write("redis: {host: from-file, port: 7000, db: 3}")
    config, origin = load(
        {"redis.host": "from-the-line"},
        {**folder.environ, "GINKGO_REDIS__HOST": "from-environment", "GINKGO_REDIS__PORT": "7001"},
    )
    assert (config.redis.host, config.redis.port, config.redis.db) == ("from-the-line", 7001, 3)
    assert origin["redis.host"] == "command line"
    assert origin["redis.port"] == "environment GINKGO_REDIS__PORT"
    assert origin["redis.db"] == str(path)
    assert "redis.password" not in origin


def test_a_parents_command_line_reaches_its_children_and_their_own_wins(folder: Folder) -> None:
    config = folder.load({"redis.port": 2}, GINKGO_OVERRIDES='{"redis.host": "parent", "redis.port": 1}')
    assert (config.redis.host, config.redis.port) == ("parent", 2)


def test_an_unknown_key_names_itself_and_the_file(folder: Folder) -> None:
    path = folder.write("redis: {hots: db1}")
    assert folder.refusal() == f"redis.hots: unknown key ({path})"


def test_an_unknown_section_names_itself_and_the_variable(folder: Folder) -> None:
    assert folder.refusal(GINKGO_REDDIS__HOST="db1") == "reddis: unknown key (environment GINKGO_REDDIS__HOST)"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("redis: {port: high}", "redis.port"),
        ("redis: {port: '6379'}", "redis.port"),
        ("redis: {port: 6379.5}", "redis.port"),
        ("redis: {port: true}", "redis.port"),
        ("redis: {port: 0}", "redis.port"),
        ("redis: {port: 70000}", "redis.port"),
        ("redis: {port: }", "redis.port"),
        ("redis: {host: [a, b]}", "redis.host"),
        ("redis: {password: 12345}", "redis.password"),
        ("redis: 5", "redis"),
        ("redis: [1, 2]", "redis"),
        ("web: {debug: 1}", "web.debug"),
        ("web: {debug: 'yes'}", "web.debug"),
        ("node: {heartbeat_ttl: .inf}", "node.heartbeat_ttl"),
        ("node: {heartbeat_ttl: .nan}", "node.heartbeat_ttl"),
        ("node: {log_level: LOUD}", "node.log_level"),
        ("kafka: {bootstrap_servers: 9092}", "kafka.bootstrap_servers"),
        ("kafka: {bootstrap_servers: [9092]}", "kafka.bootstrap_servers.0"),
        ("kafka: {enable_auto_commit: true}", "kafka.enable_auto_commit"),
        ("kafka: {topics: {ginkgo.alerts: {partitions: 0}}}", "kafka.topics.ginkgo.alerts.partitions"),
        ("kafka: {topics: {ginkgo.live.market: {partitions: 3}}}", "kafka.topics"),
        ("home: not/absolute", "home"),
        ("sources: {tushare: token}", "sources.tushare"),
    ],
)
def test_a_wrong_value_names_its_key_and_the_file(folder: Folder, text: str, key: str) -> None:
    path = folder.write(text)
    message = folder.refusal()
    assert message.startswith(f"{key}: ")
    assert message.endswith(f"({path})")
    assert ";" not in message.replace("; there are", "")


def test_all_faults_are_told_at_once(folder: Folder) -> None:
    path = folder.write("redis: {port: high, hots: a}\nnode: {max_portfolios: 0}\nnod: {}")
    message = folder.refusal(GINKGO_WEB__PORT="x")
    for fault in (
        f"redis.hots: unknown key ({path})",
        f"nod: unknown key ({path})",
        "node.max_portfolios: should be greater than or equal to 1",
        "redis.port: should be a valid integer",
        "web.port: should be a valid integer (environment GINKGO_WEB__PORT)",
    ):
        assert fault in message
    assert message.count("; ") == 4


def test_a_ttl_that_its_heartbeat_cannot_keep_is_refused(folder: Folder) -> None:
    folder.write("node: {heartbeat_interval: 10, heartbeat_ttl: 10}")
    assert "node: heartbeat_ttl must be longer than heartbeat_interval" in folder.refusal()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis: {host: a\n", "line 2: "),
        ("redis:\n  host: a\n  host: b\n", "line 3: host is given twice"),
        ("- redis\n", "must hold sections"),
        ("redis: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_not_sections_of_yaml_names_itself_and_the_line(folder: Folder, text: str, said: str) -> None:
    path = folder.write(text)
    message = folder.refusal()
    assert message.startswith(str(path))
    assert said in message


def test_a_file_in_another_encoding_is_one_line_too(folder: Folder) -> None:
    (folder.path / "config.yaml").write_bytes("redis: {host: Größe}".encode("latin-1"))
    assert "not UTF-8" in folder.refusal()


def test_the_files_of_one_section_hold_nothing_else(folder: Folder) -> None:
    path = folder.write("brokers: {}\nredis: {host: a}\n", "brokers.yml")
    assert folder.refusal() == f"redis: brokers.yml holds nothing but 'brokers:' ({path})"


def test_an_empty_file_and_an_empty_section_are_no_fault(folder: Folder) -> None:
    folder.write("# nothing yet\n", "brokers.yml")
    folder.write("redis:\n#  host: db1\nnode:\n  max_portfolios: 9\n")
    config = folder.load()
    assert config.redis.host is None
    assert config.node.max_portfolios == 9


def test_an_empty_address_is_no_address(folder: Folder) -> None:
    folder.write("redis: {host: ''}")
    config = folder.load(GINKGO_MYSQL__HOST="", GINKGO_KAFKA__BOOTSTRAP_SERVERS="")
    assert config.redis.host is None
    assert config.mysql.host is None
    assert config.kafka.bootstrap_servers == ()


def test_a_text_in_the_environment_is_taken_as_it_stands(folder: Folder) -> None:
    config = folder.load(GINKGO_MYSQL__PASSWORD="0123", GINKGO_MYSQL__USER="yes", GINKGO_MYSQL__HOST="10")
    assert config.mysql.password.get_secret_value() == "0123"
    assert (config.mysql.user, config.mysql.host) == ("yes", "10")


def test_numbers_booleans_and_lists_in_the_environment_are_what_they_look_like(folder: Folder) -> None:
    config = folder.load(
        GINKGO_WEB__DEBUG="true", GINKGO_NODE__HEARTBEAT_TTL="45", GINKGO_KAFKA__BOOTSTRAP_SERVERS="a:9092, b:9092"
    )
    assert config.web.debug is True
    assert config.node.heartbeat_ttl == 45
    assert config.kafka.bootstrap_servers == ("a:9092", "b:9092")


def test_false_in_the_environment_is_false(folder: Folder) -> None:
    assert folder.load(GINKGO_WEB__DEBUG="False").web.debug is False


def test_home_is_made_absolute(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder.load(GINKGO_HOME="here").home == tmp_path / "here"
    folder.write("home: ~/elsewhere")
    assert folder.load().home == Path.home() / "elsewhere"


def test_topics_are_configured_by_their_full_names(folder: Folder) -> None:
    folder.write("kafka: {topics: {ginkgo.live.market.data: {partitions: 20, replication_factor: 3}}}")
    topic = folder.load().kafka.topics["ginkgo.live.market.data"]
    assert (topic.partitions, topic.replication_factor) == (20, 3)


def test_no_secret_is_shown_anywhere(folder: Folder) -> None:
    folder.write("redis: {host: a, password: sesame-redis}\nweb: {secret_key: sesame-web}")
    folder.write(
        "sources: {tushare: {token: sesame-token, list: [{password: sesame-list}], url: 'https://me:sesame-url@host/x'}}",
        "data_sources.yml",
    )
    folder.write("brokers: {real: {credentials: {user: sesame-nested}, api_key: sesame-key}}", "brokers.yml")
    config, origin = load(None, folder.environ)
    shown = config_report.settings(config, origin)
    for text in (repr(shown), repr(config), str(config)):
        assert "sesame" not in text
    by_key = {setting.key: setting for setting in shown}
    assert by_key["redis.password"].value == config_report.MASK
    assert by_key["mysql.password"].value == ""
    assert by_key["sources.tushare.url"].value == f"https://me:{config_report.MASK}@host/x"


def test_a_refused_secret_is_not_repeated(folder: Folder) -> None:
    folder.write("redis: {password: [sesame]}\nweb: {secret_key: {sesame: sesame}}")
    assert "sesame" not in folder.refusal()


def test_every_setting_of_every_section_is_shown_with_its_source(folder: Folder) -> None:
    folder.write("node: {max_portfolios: 9}")
    config, origin = load(None, folder.environ)
    shown = {setting.key: setting for setting in config_report.settings(config, origin)}
    assert shown["node.max_portfolios"].value == 9
    assert shown["node.max_portfolios"].source.endswith("config.yaml")
    assert shown["node.heartbeat_ttl"].source == "default"
    assert {key.partition(".")[0] for key in shown} == set(Config.model_fields)


class TestWritingAValue:
    def test_it_keeps_comments_and_order(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(QUICKSTART, encoding="utf-8")
        config_file.write_value(path, ["redis", "host"], "db1")
        assert path.read_text(encoding="utf-8") == QUICKSTART.replace(
            "redis:\n  host: localhost", "redis:\n  host: db1"
        )

    @pytest.mark.parametrize(
        "before",
        [
            "",
            "# mine\n",
            "redis:\n",
            "redis: # the cache\n  # its port\n  port: 1 # usual\n",
            "redis:\n    host: a\n    port: 1\nnode:\n    max_portfolios: 9\n",
            "redis: {host: a, port: 1}\n",
            "redis:\n  port: '#1'\n",
            "redis:\n- a\n",
            "redis: 5\n",
        ],
    )
    def test_it_is_there_afterwards_and_all_else_stays(self, tmp_path: Path, before: str) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(before, encoding="utf-8")
        config_file.write_value(path, ["redis", "port"], 6380)
        after = yaml.safe_load(path.read_text(encoding="utf-8"))
        was = yaml.safe_load(before) or {}
        old = was.get("redis")
        assert after == {**was, "redis": {**(old if isinstance(old, dict) else {}), "port": 6380}}
        assert before.count("#") == path.read_text(encoding="utf-8").count("#") or before.endswith("'#1'\n")

    @pytest.mark.parametrize("value", ["", "a: b", "# no comment", "yes", "0123", "多", True, 1.5, [1, "a,b"]])
    def test_any_value_is_read_back_as_it_was(self, tmp_path: Path, value: object) -> None:
        path = tmp_path / "config.yaml"
        for _ in range(2):
            config_file.write_value(path, ["web", "host"], value)
            assert config_file.read(path) == {"web": {"host": value}}

    def test_a_new_file_is_its_owners_only(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "config.yaml"
        config_file.write_value(path, ["mysql", "password"], "x")
        assert path.stat().st_mode & 0o777 == 0o600
        assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


def test_text_is_typed_as_its_setting_wants_it() -> None:
    assert typed(["mysql", "password"], "5") == "5"
    assert typed(["mysql", "port"], "5") == 5
    assert typed(["no", "such"], "5") == 5
