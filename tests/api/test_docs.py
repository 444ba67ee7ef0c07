"""docs/api.md says what is: its routes, codes, metrics, settings and commands are those there are."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from prometheus_client.parser import text_string_to_metric_families

from ginkgo_site import metrics
from ginkgo_site.config import load
from portfolios.api.kit.errors import CODES
from tests.api import callers, world
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def routes() -> set[str]:
    """Those of the table: a name after the first of a row is a sibling of it."""
    found = set()
    table = TEXT.partition("## Routes")[2].partition("`PUT` takes")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        names = [name.split(" ")[-1] for name in re.findall(r"`([^`]+)`", row)]
        parent = names[0]
        for name in names:
            if name.startswith("/"):
                parent = name
                found.add(name)
            else:
                found.add(f"{parent.rpartition('/')[0]}/{name.removeprefix('…/')}")
    return found


def test_the_table_has_every_route() -> None:
    there = {re.sub(r"\{\w+\}", "{id}", path) for path in world.description()["paths"]}
    assert routes() | {"/api/", "/api/schema/"} == there


def test_it_has_every_code_with_its_status() -> None:
    listed = TEXT.partition("400 `INVALID_PARAMETER`")[1:]
    text = "".join(listed).partition("After an error")[0]
    found = {
        code: int(status)
        for status, codes in re.findall(r"(\d{3}) ((?:`[A-Z_]+`(?:,\s+)?)+)", text)
        for code in re.findall(r"`([A-Z_]+)`", codes)
    }
    assert found == CODES


def test_the_error_it_shows_is_the_one_there_is() -> None:
    (example,) = blocks("json")
    config = {**books.SAMPLES[0].config()}
    config["strategy"] = {"name": "TrendFollowStrategy", "params": {"short_period": 30, "long_period": 20}}
    caller = callers.by_token(books.administrator())
    answer = caller.post("/api/portfolio", {"name": "x", "initial_cash": 1, "config": config})
    shown = json.loads(example)
    assert (answer.json()["code"], answer.json()["message"]) == (shown["code"], shown["message"])


def test_every_metric_it_names_is_there() -> None:
    there = {
        sample.name
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    there |= {f"{name}_total" if kind == "counter" else name for name, kind, _ in metrics._NODE.values()}
    there |= {"ginkgo_node_up", "ginkgo_node_healthy", "ginkgo_order_answer_seconds", "ginkgo_reload_seconds"}
    named = set(re.findall(r"`(ginkgo_[a-z_]+)`", TEXT))
    assert len(named) > 12 and named <= there


def test_its_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(blocks("yaml")[0])
    config, _ = load({}, {"GINKGO_CONFIG_DIR": str(tmp_path)})
    assert config.api.components == ("my_desk.strategies",)
    default = load({}, {"GINKGO_CONFIG_DIR": str(tmp_path / "none")})[0].api
    for name, rate in re.findall(r"`api\.(\w+_rate)` ([0-9]+/\w+)", TEXT):
        assert getattr(default, name) == rate
    assert yaml.safe_load(blocks("yaml")[1])["scrape_configs"][0]["metrics_path"] == "/metrics"


def test_its_commands_run(capsys: pytest.CaptureFixture[str]) -> None:
    administrator = books.administrator()
    administrator.username = "admin"
    administrator.save()
    for line in blocks("sh")[0].strip().splitlines():
        call_command(*shlex.split(line)[1:])
    assert "is revoked" in capsys.readouterr().out
