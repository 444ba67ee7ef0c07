"""The `ginkgo` command as a user runs it: one document or a table on stdout, one line on stderr when it cannot."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from django.core.management import execute_from_command_line
from pytest_django import Settings

from ginkgo_site.addresses import resolve
from ginkgo_site.config import Config
from ginkgo_site.supervisor.detach import command, environment
from portfolios.kernel import registry
from scheduler.models import Node
from tests.support import eventually
from tests.support import stack as stacks
from tests.support.stack import RunningStack


def process(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`ginkgo WORDS…` as a process in `home`: a second or two, so only where a process is the point."""
    return stacks.run(home, *words, variables=variables)


def ginkgo(*words: str) -> subprocess.CompletedProcess[str]:
    """`ginkgo WORDS…` in this process, with its settings."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            execute_from_command_line(["ginkgo", *words])
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `~/.ginkgo` of the test's own."""
    monkeypatch.setenv("GINKGO_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def away(settings: Settings) -> None:
    """Servers given where nobody listens."""
    nowhere = {"host": "127.0.0.1", "port": 1}
    given = Config.model_validate({**dict.fromkeys(("redis", "mongodb"), nowhere), "clickhouse": {"host": "127.0.0.1"}})
    settings.GINKGO = given
    settings.GINKGO_RESOLVE = lambda: resolve(given)


def refused(answer: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line it says on stderr, without a traceback, with nothing on stdout."""
    assert answer.returncode == code, answer
    assert answer.stdout == ""
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]


def test_an_unknown_key_stops_every_command_with_one_line(tmp_path: Path) -> None:
    line = refused(process(tmp_path, "status", GINKGO_REDIS__HOTS="x"), code=2)
    assert line == "ginkgo: redis.hots: unknown key (environment GINKGO_REDIS__HOTS)"


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("server", ("redis", "mongo", "clickhouse"))
def test_a_server_that_is_away_is_one_line_and_exit_code_1(server: str) -> None:
    line = refused(ginkgo(server, "status"))
    assert "does not answer" in line
    assert "127.0.0.1" in line


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("words", (("node", "start"), ("node", "start", "--enable"), ("worker", "start")), ids=" ".join)
def test_a_node_id_that_differs_from_anothers_only_by_case_is_refused(words: tuple[str, ...]) -> None:
    """Redis is away, for the node that must not start."""
    Node.objects.create(node_id="Node-a", enabled=False)
    said = refused(ginkgo(*words, "--node-id", "node-A")).partition(": ")[2]
    assert said == "--node-id 'node-A': there is a node 'Node-a', and case alone makes no other id"
    assert not Node.objects.get(node_id="Node-a").enabled


def test_a_mysql_that_is_away_is_one_line_without_its_password(tmp_path: Path) -> None:
    given = {"HOST": "127.0.0.1", "PORT": "1", "PASSWORD": "sesame"}
    line = refused(process(tmp_path, "mysql", "status", **{f"GINKGO_MYSQL__{k}": v for k, v in given.items()}))
    assert line.startswith("ginkgo: MySQL at 127.0.0.1:1 does not answer")
    assert "sesame" not in line


def test_clickhouse_on_its_http_port_gets_a_hint(settings: Settings) -> None:
    settings.GINKGO = Config.model_validate({"clickhouse": {"host": "127.0.0.1", "port": 8123}})
    assert "8123 is its HTTP port" in refused(ginkgo("clickhouse", "status"))


@pytest.mark.parametrize("server", ("redis", "mongo"))
def test_without_stack_and_address_a_server_says_how_to_start_it(
    server: str, tmp_path: Path, settings: Settings
) -> None:
    settings.GINKGO_RESOLVE = lambda: resolve(Config(home=tmp_path))
    assert "ginkgo stack start" in refused(ginkgo(server, "status"))


def test_an_empty_home_says_how_to_prepare_it(tmp_path: Path) -> None:
    assert "ginkgo data init" in refused(process(tmp_path, "mysql", "status"))
    assert "ginkgo data init" in refused(process(tmp_path, "status"))
    assert "ginkgo data init" in refused(process(tmp_path, "mysql", "status"))


@pytest.mark.servers
@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("server", ("redis", "mongo", "clickhouse"))
def test_a_server_that_is_there_tells_about_itself(server: str) -> None:
    answer = ginkgo(server, "status", "--json")
    facts = json.loads(answer.stdout)
    assert answer.returncode == 0
    assert facts["engine"].split()[0] in ("Valkey", "Redis", "MongoDB", "SQLite")
    assert "://" in facts["address"]
    table = ginkgo(server, "status").stdout
    assert facts["engine"] in table
    assert max(len(line) for line in table.splitlines()) <= 80


@pytest.mark.usefixtures("config_home")
class TestConfig:
    def test_show_names_every_source_and_fits_80_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GINKGO_REDIS__HOST", "db1")
        text = ginkgo("system", "config", "show").stdout
        line = next(line for line in text.splitlines() if line.startswith("redis.host"))
        assert line.split()[1] == "db1"
        assert "environment" in line
        assert max(len(line) for line in text.splitlines()) <= 80

    def test_show_masks_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GINKGO_REDIS__PASSWORD", "sesame")
        monkeypatch.setenv("GINKGO_SOURCES__TUSHARE__TOKEN", "sesame")
        for words in ((), ("--json",), ("redis.password",)):
            answer = ginkgo("system", "config", "show", *words)
            assert answer.returncode == 0
            assert "sesame" not in answer.stdout + answer.stderr
            assert "********" in answer.stdout

    def test_show_one_key(self) -> None:
        answer = ginkgo("system", "config", "show", "node.max_portfolios", "--json")
        assert json.loads(answer.stdout) == [{"key": "node.max_portfolios", "value": 5, "source": "default"}]

    def test_show_an_unknown_key_is_one_line(self) -> None:
        assert "no setting 'redis.hots'" in refused(ginkgo("system", "config", "show", "redis.hots"))

    def test_set_writes_what_show_then_shows(self, config_home: Path) -> None:
        assert ginkgo("system", "config", "set", "node.max_portfolios", "7").returncode == 0
        (shown,) = json.loads(ginkgo("system", "config", "show", "node.max_portfolios", "--json").stdout)
        assert (shown["value"], shown["source"]) == (7, str(config_home / "config.yaml"))

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("redis.prt", "1"), "redis.prt: unknown key"),
            (("redis.port", "many"), "redis.port: should be a valid integer"),
            (("redis.port",), "give a value"),
            ((), "nothing to set"),
            (("--debug", "maybe"), "on or off"),
        ],
    )
    def test_set_refuses_what_would_not_load(self, words: tuple[str, ...], said: str, config_home: Path) -> None:
        assert said in refused(ginkgo("system", "config", "set", *words))
        assert not config_home.exists()

    def test_debug_on(self, config_home: Path) -> None:
        ginkgo("system", "config", "set", "--debug", "on")
        assert (config_home / "config.yaml").read_text() == "web:\n  debug: true\n"

    def test_set_says_when_another_source_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GINKGO_NODE__MAX_PORTFOLIOS", "7")
        answer = ginkgo("system", "config", "set", "node.max_portfolios", "6")
        assert "environment GINKGO_NODE__MAX_PORTFOLIOS" in answer.stderr

    def test_set_does_not_repeat_a_secret(self, config_home: Path) -> None:
        answer = ginkgo("system", "config", "set", "redis.password", "0123")
        assert "0123" not in answer.stdout + answer.stderr
        assert "'0123'" in (config_home / "config.yaml").read_text()


class TestComponents:
    def test_all_with_their_parameters(self) -> None:
        found = json.loads(ginkgo("components", "--json").stdout)
        trend = next(one for one in found if one["name"] == "TrendFollowStrategy")
        assert trend["kind"] == "strategy"
        assert {"short_period", "long_period"} <= {param["name"] for param in trend["params"]}

    @pytest.mark.parametrize("name", [info.name for info in registry.describe()])
    def test_one_fits_80_columns_and_shows_every_parameter(self, name: str) -> None:
        text = ginkgo("components", name).stdout
        assert max(len(line) for line in text.splitlines()) <= 80
        for param in registry.describe_one(name).params:
            assert param.name in text

    def test_an_unknown_one_is_one_line(self) -> None:
        assert "ginkgo components" in refused(ginkgo("components", "NoSuchStrategy"))


@pytest.fixture(scope="module")
def home(stack: RunningStack) -> RunningStack:
    """The run's home, with its tables."""
    assert stack.run("migrate", timeout=120).returncode == 0
    return stack


@pytest.mark.servers
class TestStatusAndTop:
    def test_status_is_one_document(self, home: RunningStack) -> None:
        answer = home.run("status", "--json")
        assert set(json.loads(answer.stdout)) == {"nodes", "portfolios", "orders", "feed"}
        assert answer.stderr == ""

    def test_top_prints_once_where_there_is_no_terminal(self, home: RunningStack) -> None:
        answer = home.run("top")
        assert answer.returncode == 0
        assert answer.stdout.count("Ginkgo Live") == 1
        assert "submitted" in answer.stdout

    @pytest.mark.parametrize("key", (b"q", b"\x03"), ids=("q", "ctrl-c"))
    def test_top_on_a_terminal_moves_until_it_is_told_to_end(self, home: RunningStack, key: bytes) -> None:
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            command("top", "--every", "0.1"),
            env={**environment(), "GINKGO_HOME": str(home.home), "TERM": "xterm", "COLUMNS": "80", "LINES": "30"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            # The terminal is this process' own, so that Ctrl-C typed into it reaches the process.
            preexec_fn=_own_terminal,  # noqa: PLW1509
        )
        os.close(terminal)
        seen = bytearray()
        try:
            eventually(lambda: _read_into(seen, controller).count(b"Ginkgo Live") >= 3, 30, saying="three screens")
            os.write(controller, key)
            eventually(lambda: (_read_into(seen, controller), process.poll() is not None)[1], 10, saying="the end")
        finally:
            process.kill()
            process.wait()
            os.close(controller)
        assert process.returncode == 0, seen.decode(errors="replace")[-500:]
        assert b"Traceback" not in seen
        assert seen.rstrip().endswith(b"\x1b[?25h") or b"\x1b[?1049l" in seen  # the screen is given back


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read_into(seen: bytearray, source: int) -> bytearray:
    while select.select([source], [], [], 0)[0]:
        try:
            seen += os.read(source, 65536)
        except OSError:
            break
    return seen


def test_it_works_from_any_directory(tmp_path: Path) -> None:
    launcher = Path(sys.executable).parent / "ginkgo"
    answer = subprocess.run(
        [launcher, "--version"],
        cwd=tmp_path,
        env={**environment(), "GINKGO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0
    assert answer.stdout.strip()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("portfolio", "show", "--nosuch"), "No such option: --nosuch. See 'ginkgo portfolio show --help'."),
        (("portfolio", "shwo"), "No such command 'shwo'. Did you mean 'show'? See 'ginkgo portfolio --help'."),
        (("portfolio", "show"), "Missing argument 'PORTFOLIO'. See 'ginkgo portfolio show --help'."),
    ],
)
def test_a_misspelled_command_is_one_line_that_says_where_the_help_is(
    tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    done = process(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line + "\n")
