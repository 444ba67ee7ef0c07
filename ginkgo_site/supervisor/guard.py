"""The supervisor's side of the warden: starts it, tells it of each child, and starts it again should it die."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ginkgo_site.supervisor import warden


class Guard:
    """A living warden that knows every registered group. `keep` are descriptors it inherits (the home's lock)."""

    def __init__(self, keep: Sequence[int] = (), remove: Sequence[Path] = ()) -> None:
        self._keep = tuple(keep)
        self._remove = tuple(remove)
        self._groups: dict[int, int] = {}
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def add(self, pid: int, stage: int) -> None:
        """From now on this group dies with the supervisor."""
        self._groups[pid] = stage
        self._tell(f"+ {pid} {stage}\n")

    def remove(self, pid: int) -> None:
        if self._groups.pop(pid, None) is not None:
            self._tell(f"- {pid}\n")

    def check(self) -> bool:
        """Replace a dead warden; whether it had to be."""
        if self._process.poll() is None:
            return False
        self._process = self._start()
        for pid, stage in self._groups.items():
            self._write(f"+ {pid} {stage}\n")
        return True

    def close(self) -> None:
        """Let it go; what is still registered it ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", warden.__file__, *map(str, self._remove)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=self._keep,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )

    def _tell(self, line: str) -> None:
        if not self.check():
            self._write(line)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            self._process.wait()
            self.check()
