"""Finds the engines' doors in the database and brings them orders, the one that answered last first.

A door that kept its caller waiting (its machine is gone, or cut off) is left out for a while: orders do not wait for it
again and again. One that refuses does so at once, and is simply the next one's turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from market import direct
from market.alerting import Throttle
from market.messages import OrderMessage, id_of
from market.models import EngineDoor

log = logging.getLogger(__name__)

_PATIENCE = 3.0
_SAY_EVERY = 10.0
_SLOW = 0.5
_LEFT_OUT = 60.0


class Caller:
    """Used by one thread. First every engine is asked for what is its own; what is nobody's then goes to anyone."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        """`patience`: seconds that one call may take."""
        self._patience = patience
        self._key = direct.key()
        self._throttle = Throttle()
        self._last: tuple[str, int] | None = None
        self._left_out: dict[tuple[str, int], float] = {}
        """Doors that kept us waiting → until when, on the monotonic clock, others are tried instead."""

    def __call__(self, messages: Sequence[OrderMessage]) -> Mapping[str, str]:
        try:
            doors = self._doors()
        finally:
            close_old_connections()  # it may be hours until the next outage
        found: dict[str, str] = {}
        for anyone in (False, True):
            for door in list(doors):
                left = [each for each in messages if id_of(each) not in found]
                if not left:
                    return found
                begun = time.monotonic()
                try:
                    answer = direct.ask(door, self._key, direct.Call(left, anyone), self._patience)
                except direct.DoorError as error:
                    doors.remove(door)
                    self._say(door, str(error))
                    if time.monotonic() - begun > _SLOW:
                        self._left_out[door] = time.monotonic() + _LEFT_OUT
                    continue
                self._left_out.pop(door, None)
                if answer.fault:
                    self._say(door, answer.fault)
                    continue
                self._last = door
                for message, outcome in zip(left, answer.outcomes, strict=True):
                    if outcome not in (direct.ELSEWHERE, direct.FAILED):
                        found[id_of(message)] = outcome
        return found

    def _doors(self) -> list[tuple[str, int]]:
        try:
            doors = list(EngineDoor.objects.values_list("host", "port"))
        except DatabaseError as error:
            log.warning("Engines cannot be looked up: %s", error)
            connection.close()
            return [self._last] if self._last is not None else []
        if not doors and self._throttle.allows("none", _SAY_EVERY):
            log.warning("No engine has a door: orders wait for Kafka (engine.door_host)")
        now = time.monotonic()
        self._left_out = {door: until for door, until in self._left_out.items() if until > now and door in doors}
        # All of them: then it is the network, or the only engine, and whoever is back first is wanted at once.
        quick = [door for door in doors if door not in self._left_out] or doors
        return sorted(quick, key=lambda door: door != self._last)

    def _say(self, door: tuple[str, int], what: str) -> None:
        if self._throttle.allows(f"{door}:{what}", _SAY_EVERY):
            log.warning("The engine at %s:%d took no orders: %s", *door, what)
