"""The supervisor: keeps its children running until told to stop, then stops them stage by stage within one deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from ginkgo_site.stack import logs
from ginkgo_site.supervisor.child import Child
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program
from ginkgo_site.supervisor.signals import Signals

_POLL = 0.05
_TRIM_EVERY = 60.0
_FIRST_COMPLAINTS = 3
_KILLED = ("signal 9", "signal 15")
"""From outside: its own log cannot know why."""


class Supervisor:
    """Single-threaded: its owner calls `step()` again and again. `say` gets each event as one line.

    `on_change` is called when a process was started or has ended, so that its number can be written down.
    """

    def __init__(self, guard: Guard, say: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self.children: dict[str, Child] = {}
        self._guard = guard
        self._say = say
        self._on_change = on_change
        self._once: set[str] = set()
        self._trimmed = time.monotonic()

    def start(self, program: Program) -> Child:
        child = self.children[program.name] = Child(program, self._guard)
        child.start()
        self._on_change()
        return child

    def once(self, program: Program) -> Child:
        """Start a program that is to end by itself; its owner asks for its end. It is stopped with all the others."""
        child = self.children[program.name] = Child(program, self._guard)
        self._once.add(program.name)
        child.start()
        return child

    def forget(self, name: str) -> None:
        """A program that ended by itself."""
        self._once.discard(name)
        del self.children[name]

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self.children.items() if child.pid is not None}

    def step(self, now: float | None = None) -> bool:
        """Notice what ended, restart what is due; whether anything changed."""
        now = time.monotonic() if now is None else now
        changed = False
        if self._guard.check():
            self._say("the warden ended and was replaced")
        for child in self.children.values():
            if child.name in self._once:
                continue
            if (why := child.ended()) is not None:
                wait = child.plan_restart(now)
                self._say(f"{child.name} ended ({why}){_because(child, why)}; started again in {wait:g} s")
                changed = True
            if child.due(now):
                self._restart(child, now)
                changed = True
        if now - self._trimmed >= _TRIM_EVERY:
            self._trimmed = now
            for child in self.children.values():
                logs.trim(child.program.log)
        if changed:
            self._on_change()
        return changed

    def stop(self, timeout: float, signals: Signals) -> None:
        """Stop all, lower stages first. What is left after `timeout` seconds, or at another signal, is killed."""
        deadline = time.monotonic() + timeout
        for stage in sorted({child.program.stage for child in self.children.values()}):
            stopping = [child for child in self.children.values() if child.program.stage == stage]
            for child in stopping:
                child.ask_to_stop()
            while self._alive(stopping) and time.monotonic() < deadline and not signals.abrupt:
                signals.wait(_POLL)
            for child in self._alive(stopping):
                self._say(f"{child.name} did not stop in time and is killed")
                child.kill()
            while self._alive(stopping):
                signals.wait(_POLL)

    def _restart(self, child: Child, now: float) -> None:
        try:
            child.start()
        except OSError as error:
            wait = child.plan_restart(now)
            self._say(f"{child.name} cannot be started ({error}); again in {wait:g} s")

    @staticmethod
    def _alive(children: list[Child]) -> list[Child]:
        for child in children:
            child.ended()
        return [child for child in children if child.running]


def _because(child: Child, why: str) -> str:
    if why in _KILLED:
        return ""
    reason = child.reason()
    return f": {reason}" if reason and child.starts <= _FIRST_COMPLAINTS else f", see {child.program.log}"
