"""Stop whatever runs in a home, from outside: ask its supervisor, and wait until it and all it had started are gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from ginkgo_site.stack import lock, record
from ginkgo_site.stack.errors import StackError

_POLL = 0.1
_TIMEOUT = 90.0


def stop_running(home: Path, say: Callable[[str], None]) -> bool:
    """Whether something ran. Raises StackError if it does not end."""
    data = record.read(home)
    if not record.is_alive(data):
        if not lock.is_held(home):
            if data:
                say(f"process {data.get('supervisor')}, which wrote {record.path(home)}, is dead; forgetting it")
                record.remove(home)
            return False
        say("the remains of a killed supervisor are being ended")
    else:
        os.kill(data["supervisor"], signal.SIGTERM)
    deadline = time.monotonic() + _TIMEOUT
    pause = Event()
    # The lock is given up a moment before the process is gone.
    while lock.is_held(home) or record.is_alive(data):
        if time.monotonic() > deadline:
            raise StackError(f"process {data.get('supervisor')} has not stopped in {_TIMEOUT:g} s: see {home / 'logs'}")
        pause.wait(_POLL)
    return True
