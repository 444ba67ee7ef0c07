"""One supervised process: started behind a gate, in a session of its own, watched, and ended with its whole group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

from ginkgo_site.stack import logs
from ginkgo_site.supervisor import backoff
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program

# The shell waits for one line before it becomes the program. If the supervisor dies between starting and registering
# the child, the line never comes, the pipe ends and the shell leaves: no child lives on unknown to the warden.
_GATE = 'IFS= read -r _ && exec "$@" </dev/null'


class Child:
    """A program and its current process, if any. Used by one thread."""

    def __init__(self, program: Program, guard: Guard) -> None:
        self.program = program
        self.starts = 0
        self.log_offset = 0
        self.output = b""
        """What the last run wrote, if its program captures."""
        self.exit_code: int | None = None
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._delay: float | None = None
        self._retry_at: float | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it now. Raises OSError if it cannot be executed."""
        program = self.program
        program.cwd.mkdir(parents=True, exist_ok=True)
        program.log.parent.mkdir(parents=True, exist_ok=True)
        logs.trim(program.log)
        program.before()
        descriptor = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.log_offset = os.fstat(descriptor).st_size
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "ginkgo", *program.argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if program.capture else descriptor,
                stderr=descriptor,
                cwd=program.cwd,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._guard.add(process.pid, program.stage)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: `ended` will tell
            process.stdin.write(b"\n")
            process.stdin.close()
        self._process = process
        self._started = time.monotonic()
        self._retry_at = None
        self.starts += 1

    def ended(self) -> str | None:
        """None while it runs; once it has ended, why, with the rest of its group killed and its process reaped."""
        process = self._process
        if process is None:
            return None
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        # Before it is reaped the number cannot be another's.
        self._kill_group(signal.SIGKILL)
        if process.stdout is not None:
            self.output = process.stdout.read()
            process.stdout.close()
        code = process.wait()
        self.exit_code = code
        self._guard.remove(process.pid)
        self._process = None
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def plan_restart(self, now: float) -> float:
        """After its end: the seconds until it is due again."""
        self._delay = backoff.delay(self._delay, now - self._started)
        self._retry_at = now + self._delay
        return self._delay

    def due(self, now: float) -> bool:
        return self._process is None and self._retry_at is not None and now >= self._retry_at

    def ask_to_stop(self) -> None:
        """SIGTERM to the program itself, which ends its own children in order; no restart is due any more."""
        self._retry_at = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        self._retry_at = None
        if self._process is not None:
            self._kill_group(signal.SIGKILL)

    def reason(self) -> str:
        """The last telling line of its log since it was last started."""
        return logs.telling_line(self.program.log, self.log_offset)

    def _kill_group(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
