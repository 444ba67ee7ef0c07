"""The API as `ginkgo web` serves it, over real HTTP; and by schemathesis, every check it has, known and unknown."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from ginkgo_site.config_model import PROJECT
from ginkgo_site.supervisor.detach import command
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

_UNLIMITED = {f"GINKGO_API__{scope}_RATE": "1000000/s" for scope in ("READ", "TRADE", "OPERATE", "LOGIN")}


@dataclass(frozen=True)
class Web:
    """A running `ginkgo web` with a key of the administrator's."""

    url: str
    key: str
    stack: RunningStack

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Message]:
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.key, "Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text, status, found = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, found = error.read(), error.code, error.headers
        return status, json.loads(text) if text else None, found


@pytest.fixture(scope="module")
def web(stack: RunningStack) -> Iterator[Web]:
    assert stack.run("data", "init", timeout=120).returncode == 0
    made = stack.run("apikey", "create", "test", "--scope", "read,trade,operate", "--json")
    assert made.returncode == 0, made.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = stack.home / "web-under-test.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command("web"),
            env={**stack.environment, **_UNLIMITED, "GINKGO_WEB__PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    served = Web(f"http://127.0.0.1:{port}", json.loads(made.stdout)["key"], stack)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0 and served.ask("GET", "/api/")[0] == 200

    try:
        eventually(answers, timeout=60, saying="ginkgo web answering")
        yield served
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        # Whoever calls every route has also stopped the engines, for all tests that come after these.
        assert stack.run("engine", "start", "--yes").returncode == 0


def test_a_portfolio_is_made_wished_for_and_configured_over_http(web: Web) -> None:
    config = {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10000}},
        "codes": ["600519.SH"],
    }
    status, made, headers = web.ask(
        "POST", "/api/portfolio", {"name": "Web", "initial_cash": 100000.00, "config": config}
    )
    assert (status, headers["Location"]) == (201, f"{web.url}/api/portfolio/{made['id']}")
    path = f"/api/portfolio/{made['id']}"
    assert web.ask("POST", f"{path}/start")[1]["desired_state"] == "running"
    slower = {"strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 10, "long_period": 30}}}
    status, changed, headers = web.ask("PUT", path, {"config": slower}, **{"If-Match": '"1"'})
    assert (status, changed["status"], headers["ETag"]) == (200, "reloading", '"2"')
    assert web.ask("PUT", path, {"config": slower}, **{"If-Match": '"1"'})[0] == 409
    assert web.ask("POST", f"{path}/stop")[0] == 200
    done = web.stack.run("portfolio", "show", made["id"], "--json")
    assert json.loads(done.stdout)["version"] == 2


def test_what_the_server_itself_refuses_has_no_page_of_djangos(web: Web) -> None:
    assert web.ask("GET", "/api/nothing")[1]["code"] == "NOT_FOUND"
    assert web.ask("TRACE", "/api/portfolio")[1]["code"] == "METHOD_NOT_ALLOWED"
    assert web.ask("GET", "/api/portfolio", **{"X-API-Key": "gk_x"})[1]["code"] == "INVALID_CREDENTIALS"


def schemathesis(web: Web, tmp_path: Path, *options: str, timeout: float) -> None:
    """Run to its end; what it found is the failure's text."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(PROJECT / "schemathesis.toml"), "run"),
            *(f"{web.url}/api/schema/", "--checks", "all", "--no-color", "--generation-database", "none"),
            *options,
        ],
        cwd=tmp_path,
        # Its own processes are not measured.
        env={name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "COV_"))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def who(web: Web, known: bool) -> list[str]:
    return ["-H", f"X-API-Key: {web.key}"] if known else []


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_schemathesis_finds_nothing(web: Web, tmp_path: Path, known: bool) -> None:
    options = ["--phases", "examples,fuzzing", "--max-examples", "3" if known else "1", "--seed", "7"]
    schemathesis(web, tmp_path, *options, *who(web, known), timeout=200)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_schemathesis_finds_nothing_however_long_it_looks(web: Web, tmp_path: Path, known: bool) -> None:
    options = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "100", "--continue-on-failure"]
    schemathesis(web, tmp_path, *options, *who(web, known), timeout=1400)
