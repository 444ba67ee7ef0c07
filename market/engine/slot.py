"""A place for each engine of one home: the first free number, held by a file lock until the process ends.

It names the engine in its consumer group, so that an engine that is started again after a crash takes its partitions
back at once, and does not wait until Kafka believes that the other is dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from pathlib import Path

_MOST = 64


class Slot:
    """Holds the place until it is garbage: keep it."""

    def __init__(self, home: Path) -> None:
        """Raises OSError if the home cannot be written to, RuntimeError if there are too many engines."""
        folder = home / "engine"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST):
            descriptor = os.open(folder / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self.number = number
            self._descriptor = descriptor
            break
        else:
            raise RuntimeError(f"there are {_MOST} engines in {home} already")
        where = hashlib.sha256(str(home).encode()).hexdigest()[:8]
        self.name = f"engine-{socket.gethostname()}-{where}-{self.number}"
