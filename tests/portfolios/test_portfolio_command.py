"""`ginkgo portfolio`, called in this process: what it prints, what it refuses and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from portfolios import services
from portfolios.management.options import component, config_of
from portfolios.models import Assignment
from tests.portfolios.test_configs import GOOD

pytestmark = pytest.mark.django_db

OPTIONS = (
    *("--name", "First", "--initial-cash", "1_000_000", "--market", "cn"),
    *("--strategy", "TrendFollowStrategy", "--param", "short_period=2", "--param", "long_period=5"),
    *("--risk", "LossLimitRisk:loss_limit=8", "--sizer", "FixedAmountSizer:amount=100000"),
    *("--codes", "600519.SH,000001.SZ"),
)


@pytest.fixture(autouse=True)
def admin() -> User:
    return User.objects.create_superuser("admin", password=None)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def ginkgo(*words: str) -> str:
        call_command("portfolio", *words)
        return capsys.readouterr().out

    return ginkgo


def test_create_by_options_prints_the_id(run: Any) -> None:
    made = services.get(run("create", *OPTIONS).strip())
    assert made.config == GOOD
    assert (made.owner.username, made.initial_cash, made.desired_state) == ("admin", 1_000_000, "stopped")


def test_create_by_a_file_with_start_is_wanted_running(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(GOOD))
    made = json.loads(
        run("create", "--name", "F", "--initial-cash", "5000", "--config", str(file), "--start", "--json")
    )
    assert made["desired_state"] == "running"
    assert services.get(made["id"]).config == GOOD


def test_every_fault_is_a_line_on_stderr_and_the_exit_code_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("portfolio", "create", *OPTIONS, "--param", "short_period=0", "--codes", "x")
    lines = capsys.readouterr().err.splitlines()
    assert raised.value.returncode == 2
    assert [line.partition(":")[0] for line in lines] == ["strategy.params.short_period", "codes[2]"]


def test_an_unknown_portfolio_is_one_line() -> None:
    with pytest.raises(CommandError, match="there is no portfolio 'nope': see 'ginkgo portfolio list'"):
        call_command("portfolio", "status", "nope")


def test_start_stop_update_and_rollback_by_name(run: Any) -> None:
    identity = run("create", *OPTIONS).strip()
    assert run("start", "First") == "First is to run\n"
    assert services.get(identity).desired_state == "running"
    assert run("stop", identity[:8]) == "First is to stop\n"
    assert run("update", "First", "--param", "long_period=9") == "First is at version 2\n"
    assert services.get(identity).config["strategy"]["params"] == {"short_period": 2, "long_period": 9}
    assert json.loads(run("rollback", "First", "1", "--json"))["version"] == 3
    assert services.get(identity).config == GOOD
    assert "restored version 1" in json.loads(run("revisions", "First", "--json"))[0]["change"]


def test_a_reload_says_whether_any_node_has_it(run: Any) -> None:
    run("create", *OPTIONS)
    assert run("reload", "First") == "First is on no node: its next start takes its newest configuration\n"
    Assignment.objects.update(node_id="n1", epoch=1)
    assert run("reload", "First") == "First is to be reloaded\n"


def test_lists_fit_eighty_columns(run: Any) -> None:
    run("create", *OPTIONS)
    call = ("--name", "A name that is rather long for a portfolio", "--initial-cash", "99000000")
    run("create", *call, *OPTIONS[4:])
    for words in (("list",), ("status", "First"), ("show", "First"), ("positions", "First")):
        assert max(len(line) for line in run(*words).splitlines()) <= 80, words


def test_json_has_money_as_numbers_and_ids_as_strings(run: Any) -> None:
    identity = run("create", *OPTIONS).strip()
    (found,) = json.loads(run("list", "--json"))
    assert (found["id"], found["cash"], found["status"]) == (identity, 1_000_000.0, "created")
    assert json.loads(run("status", "First", "--json")) == found
    assert json.loads(run("positions", "First", "--json")) == []


def test_an_export_is_imported_again(run: Any, tmp_path: Path) -> None:
    identity = run("create", *OPTIONS).strip()
    file = tmp_path / "first.json"
    run("export", identity, "--output", str(file))
    copy = run("import", "--input", str(file)).strip()
    assert copy != identity
    assert services.get(copy).config == GOOD
    assert run("import", identity, "--input", str(file)).strip() == identity


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("LossLimitRisk", "LossLimitRisk", {}),
        ("LossLimitRisk:loss_limit=8.5", "LossLimitRisk", {"loss_limit": 8.5}),
        ("R:a=1,b=true,c=word", "R", {"a": 1, "b": True, "c": "word"}),
        ("R:a=[1,2],b=x,y", "R", {"a": [1, 2], "b": "x,y"}),
        ("my.module:MyRule:a=1", "my.module:MyRule", {"a": 1}),
        ("my.module:MyRule", "my.module:MyRule", {}),
    ],
)
def test_a_component_is_read_from_one_option(text: str, name: str, params: dict[str, Any]) -> None:
    faults: list[Any] = []
    assert component(text, "--risk", faults) == {"name": name, "params": params}
    assert faults == []


def test_a_file_and_options_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--config: is the whole configuration"):
        config_of(tmp_path / "x.json", "TrendFollowStrategy", [], [], None, [], [])
