"""Servers of a benchmark's own: the embedded stack in a home that is thrown away afterwards.

What the configuration gives is used instead, if it is empty: a benchmark writes ticks and portfolios of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.stack import logs, record
from ginkgo_site.supervisor.detach import command, environment

_START_S = 300.0
"""Kafka itself may have to be downloaded first."""
_PATIENT = {"GINKGO_EMBEDDED__START_TIMEOUT": "240"}
"""A busy machine is no reason to measure nothing."""


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """The environment of a process that is to find them. Raises BenchError if they do not start."""
    # A short path: the names of sockets have a limit.
    home = Path(tempfile.mkdtemp(prefix="gk-bench-"))
    log = home / "bench-stack.log"
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command("stack", "start", "--foreground", "--tied"),
                env={**_PATIENT, **environment(), "GINKGO_HOME": str(home)},
                stdin=subprocess.PIPE,  # its end stops the stack, however we end
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _await(process, home, log)
            yield {"GINKGO_HOME": str(home)}
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _await(process: subprocess.Popen[bytes], home: Path, log: Path) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + _START_S
    while record.read(home).get("state") != "running":
        if process.poll() is not None:
            raise BenchError(f"the servers did not start: {logs.telling_line(log)}")
        if time.monotonic() > deadline:
            raise BenchError(f"the servers were not ready after {_START_S:g} s")
        pause.wait(0.1)
