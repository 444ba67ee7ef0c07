"""The warden: a tiny process that outlives its supervisor by seconds, to end every process the supervisor had started.

Run as a script (standard library only, started in milliseconds): `python -I -S warden.py [FILE_TO_REMOVE]`. On its
standard input it is told `+ PID STAGE` and `- PID`, one a line; a PID is a session and process-group leader. When the
input ends, whether the supervisor left or was killed, it sends SIGTERM to what is registered (our own processes first,
the servers two seconds later, so that the last writes find them) and SIGKILL to what is left, all within six seconds.
It inherits the home's lock, so that no new stack starts among the remains of the old one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

OURS_STAGE_BELOW = 9
_SERVERS_AFTER = 1.5
_KILL_AFTER = 5.0
_POLL = 0.05


def started(pid: int) -> str | None:
    """When the process started, in the kernel's ticks; None where that cannot be known. Tells a PID's reuse."""
    fields = _stat(pid)
    return fields[19].decode() if fields else None


def watch(lines: object) -> dict[int, tuple[int, str | None]]:
    """The groups still registered (pid → stage, start) when the input ends."""
    groups: dict[int, tuple[int, str | None]] = {}
    for line in lines:  # type: ignore[attr-defined]
        words = line.split()
        if len(words) == 3 and words[0] == "+":
            pid = int(words[1])
            groups[pid] = (int(words[2]), started(pid))
        elif len(words) == 2 and words[0] == "-":
            groups.pop(int(words[1]), None)
    return groups


def end(groups: dict[int, tuple[int, str | None]]) -> None:
    """SIGTERM in two steps, SIGKILL for the rest; returns when all are gone or have been sent SIGKILL."""
    # A leader of another start time is a stranger: the number was reused, so the group had been empty.
    groups = {pid: entry for pid, entry in groups.items() if started(pid) in (None, entry[1])}
    begun = time.monotonic()
    _signal([pid for pid, (stage, _) in groups.items() if stage < OURS_STAGE_BELOW], signal.SIGTERM)
    servers = [pid for pid, (stage, _) in groups.items() if stage >= OURS_STAGE_BELOW]
    servers_told = False
    while any(_alive(pid) for pid in groups):
        passed = time.monotonic() - begun
        ours_left = any(_alive(pid) for pid, (stage, _) in groups.items() if stage < OURS_STAGE_BELOW)
        if not servers_told and (passed >= _SERVERS_AFTER or not ours_left):
            servers_told = True
            _signal(servers, signal.SIGTERM)
        if passed >= _KILL_AFTER:
            _signal(list(groups), signal.SIGKILL)
            return
        time.sleep(_POLL)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
            if number == signal.SIGTERM:
                os.killpg(pid, signal.SIGCONT)  # a stopped process cannot hear SIGTERM


def _alive(pid: int) -> bool:
    """Whether the group has a member that is more than a zombie (which nobody may ever reap, as in many containers)."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    leader = _stat(pid)
    if leader is None or leader[0] != b"Z":
        return True
    others = (_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return any(fields and int(fields[2]) == pid and fields[0] != b"Z" for fields in others)


def _stat(pid: int) -> list[bytes] | None:
    """The kernel's line on the process from its third field (the state) on; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (no pathlib: this must start in milliseconds)
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = watch(sys.stdin)
    if groups:
        end(groups)
        for path in sys.argv[1:]:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 (no pathlib: this must start in milliseconds)


if __name__ == "__main__":
    main()
