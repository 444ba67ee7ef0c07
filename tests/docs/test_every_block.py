"""Every fenced block of every page is run, here or by the page's own test, or stands below with the reason why not.

A new block is run as soon as it is written. One that cannot be fails here until somebody says what follows it.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from typer import Exit

from ginkgo_site import config
from ginkgo_site.config import PROJECT
from market.models import Order
from market.topic_admin import create_topics
from portfolios import api_keys, services
from portfolios.calendars import trading_days
from scheduler.models import Node
from scheduler.models.node import NodeState
from tests.docs.snippets import all_blocks, blocks, commands, documents
from tests.support.stack import RunningStack

# Pages that a test of their own follows from the first block to the last.
FOLLOWED = {
    "alerts.md": "test_alerts.py",
    "notebook.md": "test_notebook.py",
    "writing-a-broker.md": "test_writing_a_broker.py",
    "writing-a-strategy.md": "test_writing_a_strategy.py",
}
# Blocks in no language: what is shown, not typed in. By their beginnings.
SHOWN = {
    "2/2 nodes": "what `ginkgo up` prints",
    "$ ginkgo status\nnode": "a command with its answer; tests/ginkgo_site/test_status.py has its columns",
    "feed ──ticks──▶": "a drawing",
    "ginkgo_site  ▶": "the layers, which `make check` holds",
    "My trend: identical": "what `ginkgo parity` prints",
    "ginkgo: Kafka at": "an error; tests/market/test_topic_admin.py has it",
    "Kafka ──▶ intake": "a drawing",
    "node, engine, scheduler … ─▶": "a drawing",
}
# Command lines that are not run here, by their beginnings, each with who does.
ELSEWHERE = {
    "make ": "CI runs them; here: they are targets of the Makefile",
    "export GINKGO_": "variables; tests/docs/test_configuration.py sets each",
    "cp docker/": "needs Docker, as the next; the files are checked beside docker/",
    "docker ": "needs Docker",
    "kubectl ": "needs a cluster",
    "systemctl ": "needs systemd as the machine's first process",
    "ginkgo mysql status": "tests/docs/test_operations.py (slow), and tests/ginkgo_site/test_cli.py",
    "mysql": "tests/docs/test_operations.py, on a MariaDB (slow)",
    "ginkgo data restored": "tests/docs/test_operations.py (slow)",
    "ginkgo engine decide": "test_an_order_in_doubt_is_decided_as_the_page_says, below",
    "ginkgo parity": "tests/integration/live/test_parity.py",
    "ginkgo feed record": "tests/integration/live/test_parity.py",
}
# Processes that run until they are stopped; tests start them as such. Here: that their options exist.
PROCESSES = (
    "ginkgo up", "ginkgo down", "ginkgo scheduler run", "ginkgo engine run", "ginkgo feed start", "ginkgo web",
    "ginkgo node start", "ginkgo alerts run", "ginkgo history run", "ginkgo flower", "ginkgo shell",
    "ginkgo livecore start", "ginkgo drill", "ginkgo bench", "ginkgo top", "ginkgo stack start",
)  # fmt: skip
LANGUAGES = {"", "sh", "console", "python", "yaml", "json", "toml", "sql"}
PAGES = [page for page in documents() if page not in FOLLOWED]
CONFIG = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
    "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 8}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 100000}},
    "codes": ["600519.SH", "000001.SZ"],
}


def program_of(line: str) -> str:
    return line.removeprefix(".venv/bin/")


def is_elsewhere(line: str) -> bool:
    return line.startswith((*ELSEWHERE, *PROCESSES))


def test_every_block_is_in_a_language_that_is_followed_or_is_shown_for_a_reason() -> None:
    unknown = []
    for page in documents():
        for language, text in all_blocks(page):
            if language not in LANGUAGES or (not language and not text.startswith(tuple(SHOWN))):
                unknown.append((page, language, text[:60]))
    assert unknown == [], "run it, or say in this file why not"


def test_the_pages_with_a_test_of_their_own_have_one() -> None:
    for page, test in FOLLOWED.items():
        assert page in (Path(__file__).parent / test).read_text()


@pytest.mark.parametrize("page", documents())
def test_data_is_what_it_says_it_is(page: str, tmp_path: Path) -> None:
    for language, text in all_blocks(page):
        if language == "json":
            json.loads(text)
        elif language == "toml":
            tomllib.loads(text)
        elif language == "yaml":
            data = yaml.safe_load(text)
            if not set(data) & {"groups", "scrape_configs"}:
                name = "brokers.yml" if set(data) == {"brokers"} else "config.yaml"
                (tmp_path / name).write_text(text)
                config.load(environ={"GINKGO_CONFIG_DIR": str(tmp_path)})
                (tmp_path / name).unlink()


@pytest.mark.parametrize("page", documents())
def test_every_link_leads_to_something(page: str) -> None:
    folder = (PROJECT / "docs" / page).parent
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme(page)):
        if "://" not in target:
            assert (folder / target).exists(), target


@pytest.mark.parametrize("page", documents())
def test_what_make_is_asked_for_it_can_make(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    asked = {line.split()[1] for line in commands(page) if line.startswith("make ")}
    assert asked <= targets


@pytest.mark.parametrize("page", documents())
def test_the_options_of_processes_exist(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in map(program_of, commands(page)):
        if line.startswith("ginkgo ") and is_elsewhere(line) and not line.startswith("ginkgo shell"):
            words = shlex.split(line)[1:]
            names = [word for word in words if not word.startswith("-")]
            said = help_of(names[0], capsys)
            if len(names) > 1 and f" {names[1]} " in said:
                said = help_of(f"{names[0]} {names[1]}", capsys)
            for option in (word.partition("=")[0] for word in words if word.startswith("--")):
                assert option in said, f"{line}: there is no {option}"


def test_every_command_of_the_readmes_tables_exists(capsys: pytest.CaptureFixture[str]) -> None:
    found = 0
    for page in ("../README.md", "../README.zh-CN.md"):
        for cell in re.findall(r"^\| (`ginkgo .*?) \|(?! *`)", readme(page).replace("\\|", "¦"), re.MULTILINE):
            for spelled in re.findall(r"`ginkgo ([^`]+)`", cell):
                plain = re.sub(r"\[.*?\]|--\w+( \d+)?", "", spelled)
                groups, _, rest = plain.strip().partition(" ")
                for group in groups.split("¦"):
                    said = help_of(group, capsys)
                    for name in re.findall(r"[a-z]\w+", rest):
                        if name not in ("chaos", "config"):
                            assert name in said or name in help_of(f"{group} config", capsys), f"{group} {name}"
                            found += 1
    assert found > 100


def help_of(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with suppress(SystemExit, Exit):
        call_command(*words.split(), "--help")
    return capsys.readouterr().out


def readme(page: str) -> str:
    return (PROJECT / "docs" / page).read_text()


# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(
    stack: RunningStack,
    transactional_db: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Callable[[str], str]:
    """The installation that the pages speak of, in an empty directory; makes a page's line one that fits it."""
    create_topics()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GINKGO_CONFIG_DIR", str(tmp_path / "config"))
    admin = User.objects.create_superuser("admin", password="of-the-admin")
    page = readme(request.node.callspec.params["page"])
    for name in ("First", "My trend", "Steady trends"):
        if f'portfolio create --name "{name}"' not in page:
            services.create(name, admin, "cn", Decimal(1_000_000), CONFIG)
    for node in ("node-1", "node-2", "node-b"):
        Node.objects.create(node_id=node, state=NodeState.ONLINE)
    Path("cross.json").write_text(blocks("backtest.md", "json")[0])
    Path("prices.csv").write_text("\n".join(["date,code,close", *_prices()]) + "\n")
    _, key = api_keys.create("docs", admin, ("read", "trade", "operate"), datetime.now(UTC))
    rest = "--initial-cash 1000000 --config cross.json"

    def here(line: str) -> str:
        line = program_of(line).replace("gk_…", key).replace('"password": "…"', '"password": "of-the-admin"')
        return line.replace("--yes …", f"--yes {rest}")

    return here


def _prices() -> list[str]:
    days = [day for day in trading_days("cn", settings.GINKGO.home) if date(2021, 1, 4) <= day < date(2022, 6, 1)]
    return [
        f"{day},{code},{price + (n % 37) * 0.1:.2f}"
        for n, day in enumerate(days)
        for code, price in (("600519.SH", 90), ("000001.SZ", 10))
    ]


# The sweep runs in processes of its own, some seconds long.
_SLOW = {"backtest.md"}


@pytest.mark.servers
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p in _SLOW else ()) for p in PAGES if commands(p)]
)
def test_every_command_does_what_the_page_says(
    page: str, world: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = 0
    for line in commands(page):
        if is_elsewhere(program_of(line)):
            continue
        words = shlex.split(world(line))
        capsys.readouterr()
        try:
            if words[0] == "ginkgo":
                call_command(*words[1:])
            elif words[0] == "curl":
                curl(words[1:])
            elif words[:2] == ["python", "-c"]:
                compile(words[2], line, "exec")
            else:
                pytest.fail(f"{line}: nobody runs it; see ELSEWHERE")
        except BaseException as error:
            said = capsys.readouterr()
            pytest.fail(f"{page}: {line}\n{type(error).__name__}: {error}\n{said.err or said.out}")
        ran += 1
    assert ran or all(is_elsewhere(program_of(line)) for line in commands(page))


def curl(words: list[str]) -> None:
    """As curl would send it, to this site; the answer must be a good one."""
    method, body, headers, url = "GET", None, {}, ""
    rest = iter(words)
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest)
        else:
            url = word
    path = re.sub(r"^http://127\.0\.0\.1:\d+", "", url)
    kind = headers.pop("Content-Type", "application/json")
    answer = Client().generic(method, path, body or "", content_type=kind, headers=headers)
    assert answer.status_code == 200, answer.content


DECISIONS = [("cancelled", "cancelled", 0), ("filled", "partially_filled", 200)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("verdict", "state", "filled"), DECISIONS)
def test_an_order_in_doubt_is_decided_as_the_page_says(verdict: str, state: str, filled: int) -> None:
    said = [each for each in blocks("operations.md", "console") if f"engine decide ORDER_ID {verdict}" in each]
    owner = User.objects.create_user("owner")
    portfolio = services.create("Doubt", owner, "cn", Decimal(1_000_000), CONFIG)
    now = datetime.now(UTC)
    order = Order.objects.create(
        order_id="0b7f", portfolio=portfolio, epoch=1, code="600519.SH", direction=1, order_type="market", volume=1000,
        cause="t:0:0:0", event_time=now, received_at=now, state="sending",
    )  # fmt: skip
    (words,) = [shlex.split(line)[2:] for line in said[0].splitlines() if "engine decide" in line]
    call_command(*[word.replace("ORDER_ID", "0b7f") for word in words])
    order.refresh_from_db()
    assert (order.state, order.filled_volume) == (state, filled)


def test_the_backtest_of_the_page_runs(tmp_path: Path) -> None:
    (text,) = blocks("backtest.md", "python")
    (tmp_path / "prices.csv").write_text("\n".join(["date,code,close", *_prices()]) + "\n")
    there: dict[str, Any] = {"config": CONFIG}
    exec(
        text.replace('"prices.csv"', repr(str(tmp_path / "prices.csv"))).replace('".ginkgo"', repr(str(tmp_path))),
        there,
    )
    assert there["result"].bars > 100


def test_history_is_read_as_the_page_reads_it(tmp_path: Path) -> None:
    from market.history.schema import TABLES
    from market.history.store import Store
    from tests.market.history.samples import bar, equity, position, tick

    address = f"sqlite:///{tmp_path / 'history.sqlite3'}"
    store = Store(address, dict.fromkeys(TABLES, 3650))
    for table, row in (
        ("ticks", tick(0)),
        ("bars", bar(0)),
        ("equity", equity(0, 1.0)),
        ("positions", position(0, "600519.SH", 100)),
    ):
        store.insert(table, [row])
    (text,) = blocks("history.md", "python")
    there = {"start": None, "end": None, "portfolio_id": "p1", "moment": None}
    exec(text.replace("Reader()", f"Reader({address!r})"), there)
    assert "history" in there
