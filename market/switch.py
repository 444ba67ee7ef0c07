"""The big red button: whether engines may send orders. One row, read afresh by every engine, durable (SPEC M3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from market.models import EngineSwitch
from portfolios import command_log

_ROW = 1


@dataclass(frozen=True)
class Switch:
    """Where the switch stands, and who put it there (nobody and never: a new installation is on)."""

    on: bool
    changed_by: str = ""
    changed_at: datetime | None = None


def read() -> Switch:
    """The switch as of now. Raises django.db.Error when the database is away."""
    row = EngineSwitch.objects.filter(pk=_ROW).first()
    return Switch(True) if row is None else Switch(row.on, row.changed_by, row.changed_at)


def is_on() -> bool:
    return not EngineSwitch.objects.filter(pk=_ROW, on=False).exists()


def install() -> None:
    """Put the switch on where it never stood: what was commanded before an installation's time does not reach it."""
    EngineSwitch.objects.get_or_create(pk=_ROW, defaults={"on": True, "changed_by": "installation"})


def turn(on: bool, who: str) -> Switch:
    """Put the switch on or off in `who`'s name; engines follow within `engine.switch_interval`."""
    row, _ = EngineSwitch.objects.update_or_create(pk=_ROW, defaults={"on": on, "changed_by": who[:150]})
    return Switch(row.on, row.changed_by, row.changed_at)


def press(on: bool, who: str = "") -> Switch:
    """`turn` for somebody who asks here and now, written down in the command log with it (SPEC S7).

    `who` empty: whoever runs this process.
    """
    who = who or command_log.system_user()
    with transaction.atomic():
        found = turn(on, who)
        result = "engines send orders" if on else "engines have stopped trading"
        command_log.done("engine.start" if on else "engine.stop", "engine", who, result)
    return found
