"""The button by Kafka's door: a command is obeyed once, and one that comes too late changes nothing (SPEC M3, N11)."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from market import switch
from market.engine.commands import obey
from market.messages import ControlCommand
from portfolios.models import Command

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def command(kind, **fields) -> ControlCommand:
    return ControlCommand(
        **{"timestamp": timezone.now(), "command_id": str(uuid.uuid4()), "command_type": kind, "target_id": "engine"}
        | fields
    )


def test_a_stop_is_obeyed_and_written_down():
    obey(command("engine.stop", params={"issued_by": "risk officer"}), "engine-0", timezone.now())
    assert not switch.is_on() and switch.read().changed_by == "risk officer"
    row = Command.objects.get()
    assert (row.state, row.door, row.node_id) == ("done", "kafka", "engine-0")


def test_a_command_that_is_delivered_again_is_obeyed_once():
    stop = command("engine.stop")
    obey(stop, "engine-0", timezone.now())
    obey(command("engine.start"), "engine-0", timezone.now())
    assert obey(stop, "engine-1", timezone.now()) == "known already"
    assert switch.is_on()


def test_a_start_that_is_older_than_a_stop_comes_too_late():
    switch.turn(False, "operator")
    obey(command("engine.start", timestamp=timezone.now() - timedelta(minutes=5)), "engine-0", timezone.now())
    assert not switch.is_on()
    assert Command.objects.get().state == "rejected"


def test_a_stop_from_before_the_installation_does_not_reach_it():
    old = command("engine.stop")
    switch.install()
    obey(old, "engine-0", timezone.now())
    assert switch.is_on()


def test_installing_again_leaves_a_stopped_engine_stopped():
    switch.turn(False, "operator")
    switch.install()
    assert not switch.is_on() and switch.read().changed_by == "operator"
