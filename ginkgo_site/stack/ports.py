"""Ports of 127.0.0.1: free ones, reserved for this process so that two homes that start at once never choose the same.

They lie below the kernel's range for outgoing connections: a client that retries a dead server's port could else be
given that very port as its own, connect to itself, and keep the server from coming back.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from ginkgo_site.stack.errors import StackError

_LOWEST = 20_000
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_DEFAULT = 32_768


class Ports:
    """The ports reserved by this process, until `release()` or its death."""

    def __init__(self) -> None:
        self._reservations: dict[int, int] = {}

    def any(self) -> int:
        """A free port, ours from now on. Raises StackError if there is none."""
        candidates = range(_LOWEST, _first_outgoing())
        for port in random.sample(candidates, k=min(len(candidates), 500)):
            if self.take(port):
                return port
        raise StackError(
            f"no free port on 127.0.0.1 between {_LOWEST} and {_first_outgoing()}: stop something that listens there"
        )

    def take(self, port: int, host: str = "127.0.0.1") -> bool:
        """Whether `port` was free and is now ours."""
        if port in self._reservations:
            return True
        if not is_free(port, host):
            return False
        reservation = _reserve(port)
        if reservation is None:
            return False
        self._reservations[port] = reservation
        return True

    def release(self) -> None:
        for descriptor in self._reservations.values():
            os.close(descriptor)
        self._reservations.clear()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> int | None:
    """A descriptor that holds the user-wide lock file of `port`, or None if another process of this user has it."""
    folder = Path(tempfile.gettempdir()) / f"ginkgo-ports-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # somebody else's folder, a full disk: the bind test has to do
        return os.open(os.devnull, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _first_outgoing() -> int:
    try:
        first = int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _OUTGOING_DEFAULT
    return first if first > _LOWEST + 1000 else _OUTGOING_DEFAULT
