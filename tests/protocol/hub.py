"""The simulated machine: processes whose threads are greenlets, one clock, and one seeded choice of who runs next.

The product's own threads run in it unchanged. Wherever one of them could be interrupted to some effect (a statement to
the database, a call to Kafka or the broker, a wait, a lock) it comes by here, and the hub may let any other thread run
first, let time pass, freeze a process, or end it there and then. A seed is a whole history.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit, greenlet  # type: ignore[import-untyped]


class Died(BaseException):
    """The process ends here. Nothing catches it, and what runs on its way out reaches nothing any more."""


class Violation(BaseException):
    """What must never be. The product cannot catch it."""


class Process:
    """One operating system process: `kind` is node, engine, scheduler or world; `name` is unique for ever."""

    __slots__ = ("alive", "ends", "frozen", "kind", "name", "tasks", "transaction")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.alive = True
        self.frozen = False
        self.tasks: dict[Task, None] = {}  # ordered, so that a seed is the same history every time
        self.ends: list[Callable[[], None]] = []
        """Called when it dies: what an operating system or a server does for the dead (roll back, close)."""

    def __repr__(self) -> str:
        return self.name


class Task:
    """One thread. `queue` is where it waits, if anywhere; `until` is when it stops waiting (None: never)."""

    __slots__ = ("done", "greenlet", "joiners", "name", "process", "queue", "transaction", "until", "woken")

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.greenlet: Any = None
        self.queue: list[Task] | None = None
        self.until: float | None = None
        self.woken = False
        self.done = False
        self.joiners: list[Task] = []
        self.transaction: Any = None


class Hub:
    """`density` is the share of possible interruptions that are taken."""

    def __init__(self, seed: int, density: float = 1.0) -> None:
        self.random = random.Random(seed)
        self.chance = self.random.random
        self.names = random.Random(seed)
        """For ids that only have to differ: how many are drawn changes nothing else."""
        self.density = density
        self.haste = 0.85
        """How often one who can run goes before one who waits for a moment to come."""
        self.now = 1000.0
        self.steps = 0
        self.current: Task | None = None
        self.ready: list[Task] = []
        self.sleeping: list[Task] = []
        self.parked: list[Task] = []
        self.failed: Violation | None = None
        self.trace: list[str] | None = None
        self._main = greenlet.getcurrent()
        self.world = Process("world", "world")
        self.processes: list[Process] = [self.world]
        self.atomic = 0
        """While positive nobody else runs: used where a real database allows only one transaction at a time."""

    # -- for threads -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """A point at which anybody else may run, and this process may end."""
        task = self.current
        if task is None or self.atomic:
            return
        self.steps += 1
        if not task.process.alive:
            raise Died
        if self.chance() < self.density:
            self.ready.append(task)
            self._leave(task)

    def wait(self, queue: list[Task], timeout: float | None) -> bool:
        """Wait in `queue` for `wake`, at most so long; whether it was woken."""
        task = self.current
        assert task is not None, "only threads wait"
        if not task.process.alive:
            raise Died
        task.queue = queue
        queue.append(task)
        if timeout is not None:
            task.until = self.now + max(timeout, 0.0)
            self.sleeping.append(task)
        self._leave(task)
        return task.woken

    def _leave(self, task: Task) -> None:
        self._main.switch()
        if not task.process.alive:
            raise Died

    def wake(self, queue: list[Task]) -> None:
        """All who wait there may go on. What a dead process says on its way out is not heard."""
        current = self.current
        if current is not None and not current.process.alive:
            return
        for task in queue:
            task.queue = None
            task.woken = True
            if task.until is not None:
                task.until = None
                self.sleeping.remove(task)
            self.ready.append(task)
        queue.clear()

    def spawn(self, process: Process, name: str, work: Callable[[], object]) -> Task:
        task = Task(process, name)

        def run() -> None:
            try:
                work()
            except (Died, GreenletExit):
                pass
            except Violation as violation:
                self.failed = self.failed or violation
            except BaseException as error:  # a thread of the product must not die: that is a finding
                if process.alive:
                    lines = "".join(traceback.format_exception(error)[-6:])
                    self.failed = self.failed or Violation(f"{process.name}: thread {name} died:\n{lines}")
            finally:
                task.done = True
                process.tasks.pop(task, None)
                if process.alive:
                    self.wake(task.joiners)

        task.greenlet = greenlet(run, self._main)
        process.tasks[task] = None
        self.ready.append(task)
        return task

    # -- for whoever drives it ---------------------------------------------------------------------------------------

    def process(self, kind: str, name: str) -> Process:
        process = Process(kind, name)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """kill -9, and what the rest of the world does about it."""
        if not process.alive:
            return
        self.note(f"kill {process.name}")
        process.alive = False
        for end in process.ends:
            end()
        for task in list(process.tasks):
            if task.queue is not None:
                task.queue.remove(task)
                task.queue = None
                if task.until is not None:
                    task.until = None
                    self.sleeping.remove(task)
            if task.greenlet:  # it has begun
                before, self.current = self.current, task
                task.greenlet.throw(Died)
                self.current = before
        self.ready = [task for task in self.ready if task.process is not process]
        self.parked = [task for task in self.parked if task.process is not process]

    def freeze(self, process: Process) -> None:
        """SIGSTOP."""
        self.note(f"freeze {process.name}")
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """SIGCONT."""
        if process.frozen:
            self.note(f"thaw {process.name}")
            process.frozen = False
            back = [task for task in self.parked if task.process is process]
            self.parked = [task for task in self.parked if task.process is not process]
            self.ready += back

    def step(self) -> None:
        """Let one thread run up to its next interruption; it is any that can, or one that has waited long enough."""
        self.steps += 1
        chance = self.chance
        ready = self.ready
        if ready and (not self.sleeping or chance() < self.haste):
            at = int(chance() * len(ready))
            task = ready[at]
            ready[at] = ready[-1]
            ready.pop()
            if task.process.frozen:
                self.parked.append(task)
                return
        elif self.sleeping:
            sleeping = self.sleeping
            # Whoever wakes next is anybody, but of two the one who is due earlier: long waits would else be the rule.
            at, other = int(chance() * len(sleeping)), int(chance() * len(sleeping))
            if sleeping[other].until < sleeping[at].until:  # type: ignore[operator]
                at = other
            task = sleeping[at]
            if task.process.frozen:
                return
            sleeping[at] = sleeping[-1]
            sleeping.pop()
            assert task.until is not None and task.queue is not None
            if task.until > self.now:
                self.now = task.until
            task.until = None
            task.woken = False
            task.queue.remove(task)
            task.queue = None
        else:
            return
        self.now += 0.0002
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f} {task.process.name:12} {task.name}")
        self.current = task
        task.greenlet.switch()
        self.current = None
        if self.failed is not None:
            raise self.failed

    def note(self, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f} ==== {what}")

    def end(self) -> None:
        """Forget everybody, without a word from them."""
        for process in self.processes:
            self.kill(process)


_hub: Hub | None = None


def hub() -> Hub:
    """The hub of the schedule that runs now."""
    assert _hub is not None
    return _hub


def use(new: Hub | None) -> None:
    global _hub  # noqa: PLW0603
    _hub = new
