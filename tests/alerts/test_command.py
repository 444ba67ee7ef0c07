"""`ginkgo alerts`, as a process and in this one."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from alerts import showing
from alerts.store import AlertStore
from ginkgo_site.supervisor.detach import command
from market import bus
from market.alerting import Alerter
from market.topic_admin import create_topics
from tests.alerts import making, servers
from tests.support import eventually
from tests.support.stack import RunningStack

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    call_command("alerts", *words)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-03-01T08:00:00+08:00", datetime(2026, 3, 1, tzinfo=UTC)),
        ("1640000000", datetime(2021, 12, 20, 11, 33, 20, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
    ],
)
def test_moments_are_ago_or_in_full(given: str, moment: datetime | None) -> None:
    assert showing.moment(given, NOW) == moment


@pytest.mark.servers
def test_list_fits_eighty_columns_and_drives_no_terminal(
    stack: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    store, source, now = AlertStore(), f"list-{uuid4().hex[:6]}", datetime.now(UTC)
    store.add([making.alert(source=source, at=now, message="evil \x1b[2J [red]" + "long " * 60) for _ in range(3)], now)
    store.close()
    text = run(capsys, "list", "--source", source)
    assert f"warning   queue_full  {source}  ×3 since" in text
    assert "\x1b" not in text
    assert "[red]" in text
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads(run(capsys, "list", "--source", source, "--each", "--json"))
    assert (len(document["alerts"]), document["total_count"]) == (3, 3)
    assert datetime.fromisoformat(document["alerts"][0]["timestamp"]).tzinfo is not None
    assert run(capsys, "list", "--source", source, "--severity", "critical") == "No alerts.\n"
    assert "newest 1 of 3" in run(capsys, "list", "--source", source, "--each", "--limit", "1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--severity", "bad"), "--severity must be one of info, warning, critical, got 'bad'"),
        (("list", "--since", "yesterday"), "--since must be like 15m"),
        (("test", "nothing"), "there is no channel 'nothing'"),
    ],
)
@pytest.mark.django_db
def test_a_mistake_is_one_line_that_says_what_to_do(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command("alerts", *words, stdout=StringIO())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.django_db(transaction=True)
def test_a_test_message_is_sent_by_name_or_id_and_its_outcome_said(capsys: pytest.CaptureFixture[str]) -> None:
    with servers.webhook() as hook:
        channel = making.channel(making.user(), hook.url)
        assert run(capsys, "test", "hook") == "A test was sent by hook (json://127.0.0.1/…).\n"
        hook.status = 403
        with pytest.raises(CommandError, match=r"was not sent: .*403"):
            run(capsys, "test", str(channel.pk))
        making.channel(making.user("other"), hook.url)
        with pytest.raises(CommandError, match=r"several channels are called 'hook': of ops .* other"):
            run(capsys, "test", "hook")
    listed = json.loads(run(capsys, "channels", "--json"))["channels"]
    assert [(c["user"], c["address"]) for c in listed] == [
        ("ops", "json://127.0.0.1/…"),
        ("other", "json://127.0.0.1/…"),
    ]


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_status_tells_how_far_alerts_are_stored_and_told(
    stack: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    create_topics()
    document = json.loads(run(capsys, "status", "--json"))
    assert set(document["last_day"]) == {"info", "warning", "critical"}
    assert document["not_weighed_yet"] >= 0
    assert document["notes"] == []
    assert "notifications    none" in run(capsys, "status")


@pytest.mark.servers
def test_follow_shows_each_alert_as_it_is_raised(stack: RunningStack) -> None:
    create_topics()
    source = f"follow-{uuid4().hex[:6]}"
    alerter = Alerter(source, bus.make_producer("test.follow"))
    process = subprocess.Popen(
        command("alerts", "follow", "--source", source, "--json"),
        env=stack.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines: list[Any] = []

        def raised() -> bool:
            alerter.raise_alert("queue_full", "warning", "again", n=len(lines))
            return _readable(process)

        eventually(raised, timeout=40, interval=0.5)
        lines.append(json.loads(process.stdout.readline()))
        assert (lines[0]["alert_type"], lines[0]["source"], lines[0]["message"]) == ("queue_full", source, "again")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _readable(process: subprocess.Popen[str]) -> bool:
    import select

    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0)[0])
