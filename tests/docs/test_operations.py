"""docs/operations.md, followed: two machines on servers of their own, a back-up, and the way back from it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest
import yaml

from ginkgo_site.supervisor.detach import command, environment
from tests.docs.snippets import DOCS, blocks, commands
from tests.support import debian, eventually
from tests.support.stack import read, running_stack

DOCUMENT = "operations.md"
_PATIENCE = 300.0
TEXT = (DOCS / DOCUMENT).read_text()


def test_every_metric_of_the_rules_exists_and_every_rule_is_explained() -> None:
    source = (DOCS.parent / "ginkgo_site" / "metrics.py").read_text()
    (rules,) = [yaml.safe_load(text)["groups"][0]["rules"] for text in blocks(DOCUMENT, "yaml") if "groups:" in text]
    for rule in rules:
        (metric,) = re.findall(r"ginkgo_\w+", rule["expr"])
        assert f'"{metric.removesuffix("_total")}"' in source, f"{rule['alert']}: there is no {metric}"
        assert re.search(rf"^\| .*`{rule['alert']}`.* \|", TEXT, re.MULTILINE), f"{rule['alert']} is not explained"


def test_every_reference_leads_somewhere() -> None:
    headings = {re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", TEXT, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """A home and a directory of configuration of its own; what the page has its reader type in is typed in here."""

    home: Path
    config: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in environment().items() if not k.startswith(("GINKGO_", "DJANGO_"))}
        return {**clean, "GINKGO_HOME": str(self.home), "GINKGO_CONFIG_DIR": str(self.config)}

    def ginkgo(self, line: str, *more: str, expected: int = 0) -> str:
        words = [*shlex.split(line.removeprefix("ginkgo ")), *more]
        done = subprocess.run(
            command(*words), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == expected, f"{line}: {done.stderr or done.stdout}"
        return done.stdout if expected == 0 else done.stderr

    def json(self, line: str) -> Any:
        return json.loads(self.ginkgo(line, "--json"))

    def start(self, line: str) -> None:
        words = shlex.split(line.removeprefix("ginkgo "))
        with (self.home / f"{'-'.join(words[:2])}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    command(*words), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        codes = [process.wait(60) for process in self.processes]
        self.processes.clear()
        assert set(codes) <= {0}, codes


@dataclass
class Site:
    """Two machines, and the servers that both were given."""

    first: Machine
    second: Machine
    mysql: dict[str, str]
    dump: Path

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with pymysql.connect(**self._login()) as connection, connection.cursor() as cursor:  # type: ignore[call-overload]
            cursor.execute(sql)
            return list(cursor.fetchall())

    def shell(self, line: str) -> None:
        """The page's line for MySQL, with this site's address in the place of db1."""
        m = self.mysql
        login = f"-h {m['HOST']} -P {m['PORT']} -u {m['USER']}"
        line = line.replace("-h db1 -u ginkgo -p", login).replace("ginkgo.sql", str(self.dump))
        subprocess.run(line, shell=True, check=True, env={**os.environ, "MYSQL_PWD": m["PASSWORD"]})

    def _login(self) -> dict[str, Any]:
        m = self.mysql
        where = {"host": m["HOST"], "port": int(m["PORT"]), "user": m["USER"], "password": m["PASSWORD"]}
        return {**where, "database": "ginkgo"}

    def start(self) -> None:
        for line in ("scheduler run", "engine run", "feed start --source sample --speed 20"):
            self.first.start(line)
        self.second.start(_command("ginkgo node start"))

    def has_its_node(self) -> bool:
        return [node["node_id"] for node in self.first.json("node list")] == ["node-b"]

    def fills(self) -> int:
        return int(self.rows("SELECT count(*) FROM market_fill")[0][0])

    def differences(self) -> list[Any]:
        """Portfolios whose cash is not what their fills leave; asked when everything stands still."""
        wrong = []
        for portfolio, initial, state in self.rows(
            "SELECT p.id, p.initial_cash, c.state FROM portfolios_portfolio p "
            "JOIN portfolios_checkpoint c ON c.portfolio_id = p.id WHERE length(c.state) > 0"
        ):
            spent = self.rows(
                "SELECT coalesce(sum(direction * amount + commission + tax), 0) FROM market_fill "
                f"WHERE portfolio_id = '{portfolio}'"
            )[0][0]
            cash = json.loads(state)["ledger"]["cash"]
            if int((initial - spent) * 10_000) != cash:
                wrong.append((portfolio, initial - spent, cash))
        return wrong


def _command(beginning: str) -> str:
    return next(line for line in commands(DOCUMENT) if line.startswith(beginning))


@contextmanager
def _site(folder: Path) -> Iterator[Site]:
    home = folder / "servers"
    with debian.redis_server(folder) as cache, debian.mariadb(folder) as mysql:
        m = {name.removeprefix("GINKGO_MYSQL__"): value for name, value in mysql.items()}
        variables = {**mysql, **cache, "GINKGO_CONFIG_DIR": str(folder / "none")}
        with running_stack(home, variables):
            # The page's file, with these addresses.
            (text,) = [each for each in blocks(DOCUMENT, "yaml") if each.startswith("mysql:")]
            given = yaml.safe_load(text)
            assert set(given) == {"mysql", "redis", "kafka", "web"}
            given["mysql"] |= {"host": m["HOST"], "port": int(m["PORT"]), "password": m["PASSWORD"]}
            given["redis"] |= {"host": cache["GINKGO_REDIS__HOST"], "port": int(cache["GINKGO_REDIS__PORT"])}
            given["kafka"]["bootstrap_servers"] = [read(home)["kafka"]]
            machines = []
            for name in ("first", "second"):
                machine = Machine(folder / name, folder / f"{name}-config")
                machine.home.mkdir()
                machine.config.mkdir(mode=0o700)
                (machine.config / "config.yaml").write_text(yaml.safe_dump(given))
                machines.append(machine)
            site = Site(machines[0], machines[1], m, folder / "ginkgo.sql")
            try:
                yield site
            finally:
                for machine in machines:
                    for process in machine.processes:
                        process.kill()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_machines_are_installed_backed_up_and_restored(tmp_path: Path) -> None:
    if debian.find("mariadbd") is None or debian.find("redis-server") is None:
        pytest.skip("MariaDB and Redis are not installed")
    with _site(tmp_path) as site:
        _install(site)
        _trade(site)
        _back_up_and_restore(site)


def _install(site: Site) -> None:
    for line in ("mysql status", "redis status", "kafka status"):
        site.second.ginkgo(line)
    said = site.first.ginkgo(_command("ginkgo data init"))
    assert "password" in said
    assert "exists" in site.second.ginkgo("data init")  # on one of them, once; another time does no harm


def _trade(site: Site) -> None:
    site.start()
    eventually(
        lambda: [n["node_id"] for n in site.first.json("node list")] == ["node-b"], _PATIENCE, 1, saying="the node"
    )
    site.first.ginkgo(_command("ginkgo portfolio create"))
    plan = site.first.json("scheduler plan")
    assert [p["name"] for p in plan["portfolios"]] == ["My trend"]
    eventually(lambda: site.fills() >= 3, _PATIENCE, 1, saying="fills")


def _back_up_and_restore(site: Site) -> None:
    earlier = site.fills()
    site.shell(_command("mysqldump"))
    before = site.fills()
    eventually(lambda: site.fills() >= before + 3, _PATIENCE, 1, saying="fills that the back-up lacks")
    refused = site.first.ginkgo("data restored --yes", expected=1)
    assert "node-b" in refused and len(refused.splitlines()) == 1
    # 1. stop every process; 2. restore; 3. tell the platform.
    site.second.stop()
    site.first.stop()
    assert site.differences() == []
    site.shell(_command("mysql -h"))
    assert earlier <= site.fills() <= before
    site.first.ginkgo("data init")
    # The back-up remembers an engine that read orders a moment ago: it says so, and to wait 10 s.
    done = eventually(lambda: site.first.json("data restored --yes"), 30, 1, saying="it is told")
    assert [each["name"] for each in done["stopped"]] == ["My trend"]
    # 4. start all of them: nothing is traded, whatever the log remembers.
    site.start()
    eventually(lambda: site.first.json("engine status")["engine_status"] == "stopped", _PATIENCE, 1, saying="an engine")
    eventually(
        lambda: [n["node_id"] for n in site.first.json("node list")] == ["node-b"], _PATIENCE, 1, saying="the node"
    )
    assert "all books agree" in site.first.ginkgo(_command("ginkgo reconcile"))
    restored = site.fills()
    # 6. trading again: new answers are booked, under numbers that the lost time had used too.
    for line in ("ginkgo engine start --yes", 'ginkgo portfolio start "My trend"'):
        assert line in commands(DOCUMENT)
        site.first.ginkgo(line)
    eventually(lambda: site.fills() >= restored + 3, _PATIENCE, 1, saying="fills after the restoration")
    site.second.stop()
    site.first.stop()
    assert site.differences() == []


def test_the_page_names_every_kind_of_alert_that_needs_somebody() -> None:
    of_portfolios = ("data_gap", "order_fenced", "queue_full", "component_error", "reload_failed", "start_failed")
    for kind in (*of_portfolios, "node_offline"):
        assert kind in TEXT
