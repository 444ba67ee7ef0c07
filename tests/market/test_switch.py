"""The big red button is a command like others: who pressed it is in the command log (SPEC M3, S7)."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import DatabaseError

from market import switch
from market.models import EngineSwitch
from portfolios import command_log
from portfolios.models import Command

pytestmark = pytest.mark.django_db


def test_by_the_command_line_it_is_written_down_with_the_machines_user() -> None:
    call_command("engine", "stop", "--yes")
    call_command("engine", "start", "--yes")
    rows = Command.objects.order_by("created_at").values_list("command_type", "target_id", "state", "issued_by")
    who = command_log.system_user()
    assert list(rows) == [("engine.stop", "engine", "done", who), ("engine.start", "engine", "done", who)]
    assert switch.read().changed_by == who


def test_it_is_not_written_down_as_done_where_it_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(EngineSwitch.objects, "update_or_create", away)
    with pytest.raises(DatabaseError):
        switch.press(False, "alice")
    assert not Command.objects.exists()


def test_a_user_without_a_name_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(command_log.getpass, "getuser", nameless)
    monkeypatch.setattr(command_log.os, "getuid", lambda: 1000)
    assert command_log.system_user() == "uid 1000"
