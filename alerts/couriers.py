"""Our side of a courier: a process that is started when there is something to send, and ended when it hangs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from alerts.channels import scrubbed

log = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds that one delivery may take."""
_PROGRAM = Path(__file__).with_name("courier.py")
_LONGEST_REASON = 300
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


@dataclass(frozen=True)
class Message:
    title: str
    body: str
    severity: str


@dataclass(frozen=True)
class Outcome:
    """`reason`: why it was not sent, without anything secret; empty if it was. `final`: trying again is no use."""

    sent: bool
    reason: str = ""
    final: bool = False


class Courier:
    """One delivery at a time; `close` may be called by another thread, and ends one that is under way."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that sends, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def deliver(self, url: str, message: Message) -> Outcome:
        """Send it, and wait for the outcome for at most the time of a delivery."""
        order = {
            "url": url,
            "title": message.title,
            "body": message.body,
            "type": _TYPES.get(message.severity, "info"),
            "timeout": self._timeout,
        }
        process = self._running()
        if process is None:
            return Outcome(False, "the notifier is stopping")
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError) as error:
            log.debug("A courier ended before it was asked: %s", error)
            line = ""
        if not line:
            return Outcome(False, self._autopsy(process))
        answer = json.loads(line)
        return Outcome(bool(answer["sent"]), scrubbed(str(answer["reason"]), url)[:_LONGEST_REASON])

    def rest(self) -> None:
        """End the process; the next delivery starts another."""
        with self._lock:
            process, self._process = self._process, None
        _end(process)

    def close(self) -> None:
        """End the process, and send nothing any more."""
        with self._lock:
            self._closed = True
        self.rest()

    def _running(self) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._closed:
                return None
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    # -P: as a file, but without its folder on the path, whose names are not Apprise's.
                    [sys.executable, "-P", str(_PROGRAM)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            return self._process

    def _autopsy(self, process: subprocess.Popen[str]) -> str:
        process.kill()
        code = process.wait()
        with self._lock:
            if self._process is process:
                self._process = None
        _end(process)
        if code == -signal.SIGALRM:
            return f"no answer within {self._timeout:g} s"
        return "the notifier is stopping" if self._closed else f"the process that sends has ended ({code})"


def _end(process: subprocess.Popen[str] | None) -> None:
    if process is None:
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError as error:
                log.debug("Closing a courier's pipe: %s", error)
