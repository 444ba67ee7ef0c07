"""What docs/alerts.md tells its reader: every command works, every address is one that can be sent to."""

from __future__ import annotations

import re
import shlex
import threading
from datetime import UTC, datetime

import pytest
from django.core.management import call_command

from alerts import channels
from alerts.delivery import PAUSES, WORKERS
from alerts.store import KEPT, PAUSE_MS, AlertStore
from market.topic_admin import create_topics
from tests.alerts import making
from tests.docs.snippets import DOCS, commands
from tests.support.stack import RunningStack

# Tokens of the form that each service gives out.
_LIKE = {
    "KEY": "693a2f46-7a0c-4bc4-97a0-0ec2c1f05aaa",
    "TOKEN": "abcdefgh12345678",
    "BOT_TOKEN": "123456789:abcdefg_hijklmnop",
    "CHAT_ID": "12315544",
    "TOKEN_A": "A1BRTD4JD",
    "TOKEN_B": "TIiajkdnl",
    "TOKEN_C": "xazkdnlcmbjeydjvpqrst123",
}
TEXT = (DOCS / "alerts.md").read_text()


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("line", commands("alerts.md"))
def test_every_command_works(
    stack: RunningStack, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topics()
    # Nobody presses Ctrl-C here; what `follow` does has its own test, as a process.
    monkeypatch.setattr("market.stopping.stop_on_signals", threading.Event.set)
    store, now = AlertStore(), datetime.now(UTC)
    store.add([making.alert(at=now)], now)
    store.close()
    program, *words = shlex.split(line, comments=True)
    assert program == "ginkgo"
    call_command(*words)
    said = capsys.readouterr().out
    assert said or "follow" in words


def test_every_address_is_one_that_apprise_can_send_to() -> None:
    table = TEXT[TEXT.index("| channel | address |") : TEXT.index("*Save and send a test*")]
    found = re.findall(r"`([a-z]+://[^`]+)`", table)
    assert len(found) == 7
    for url in found:
        channels.check(re.sub(r"\b[A-Z][A-Z_]+\b", lambda name: _LIKE[name[0]], url))


def test_its_numbers_are_those_of_the_code() -> None:
    assert (KEPT, PAUSE_MS, WORKERS) == (7 * 86400, 600_000, 4)
    assert "10 s, 30 s, 2, 5, 15, 30 and 60 minutes" in TEXT
    assert PAUSES == (10, 30, 120, 300, 900, 1800, 3600)
